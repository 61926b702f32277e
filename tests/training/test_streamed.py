"""Training on images that are read while it runs: any number of readers and processes, kills, parts of batches."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from launch import run_ranks

from steradian.data.loading.stream import StreamedPixels
from steradian.data.pixels import PixelSet
from steradian.errors import ReaderError, UnreachableError, UsageError
from steradian.models.tensors import load_tensors
from steradian.training import Recipe, RunFolder, distributed, load_data, make_plan, train
from steradian.training.activations import activation_bytes, in_parts, part_size, steady_statistics
from steradian.training.checkpoint import latest_checkpoint, read_record
from steradian.training.step_clock import StepClock

STREAMED = {
    "encoder": "small", "adapt": "train", "data.decoded_gib": 0, "data.workers": 0, "data.image_size": 16,
    "embedding_size": 4, "training.epochs": 2, "training.batch_size": 16, "views.crop": 0.5,
}  # fmt: skip


def recipe(photos: Path, **changes: object) -> Recipe:
    return Recipe().changed(**{**STREAMED, "data.source": str(photos), **changes})


def test_one_reader_or_two_give_the_same_weights_and_history(image_folder) -> None:
    photos = image_folder(3, 20)
    (photos / "class-1" / "005.png").write_bytes(b"broken")
    results = []
    for workers in (0, 1, 2):
        wanted = recipe(photos, **{"data.workers": workers, "progressive.views": 2})
        plan = make_plan(wanted, load_data(wanted))
        assert any(line.startswith("data: read from their files in every epoch") for line in plan.lines)
        results.append(train(plan))
        assert "1 of 60 images cannot be used" in plan.all_warnings[-1]
    first = results[0].model.state_dict()
    for other in results[1:]:
        assert all(torch.equal(tensor, first[name]) for name, tensor in other.model.state_dict().items())
        assert other.history == results[0].history


def test_processes_read_disjoint_parts_of_the_same_views(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe(image_folder(3, 20))
    found = load_data(wanted)
    batches = make_plan(wanted, found).batches(found.splits.train)
    whole = list(batches.epoch(1))
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: 3)
        parts.append(list(batches.epoch(1)))
    for one, *divided in zip(whole, *parts, strict=True):
        assert np.concatenate([part.rows for part in divided]).tolist() == one.rows.tolist()
        assert torch.equal(torch.cat([part.loaded.samples for part in divided]), one.loaded.samples)
        assert all(part.count == len(one) for part in divided)


def test_two_processes_go_on_as_one_does(programs: Path, tmp_path: Path) -> None:
    # Without batch norm, which would see another part of each batch. New class centers depend on how they are divided,
    # so that both begin at one checkpoint.
    changes = {
        "encoder": "convnext_atto", "data.decoded_gib": 0, "data.workers": 1, "data.image_size": 32,
        "views": {"crop": 0.5}, "training.auxiliary": 0.0, "training.epochs": 1, "neck": "none", "embedding_size": 320,
        "training.optimizer": "sgd", "training.learning_rate": 0.01,
    }  # fmt: skip

    def run(count: int, folder: str, stop: int) -> list[tuple[int, str, str]]:
        worker = Path(__file__).parent / "group_worker.py"
        words = (str(tmp_path / folder), str(stop), json.dumps(changes), "")
        return run_ranks(count, worker, *words, python=programs / "python")

    assert [code for code, _, _ in run(1, "begun", 1)] == [130]
    weights = []
    for count in (1, 2):
        shutil.copytree(tmp_path / "begun", tmp_path / str(count))
        done = run(count, str(count), -1)
        assert [code for code, _, _ in done] == [0] * count, done
        weights.append(load_tensors(tmp_path / str(count) / "model" / "model.safetensors"))
    apart = [(weights[0][name] - tensor).abs().max() for name, tensor in weights[1].items()]
    assert float(torch.stack(apart).max()) < 1e-6


def test_a_source_that_is_lost_in_the_middle_leaves_a_checkpoint(image_folder, tmp_path: Path, monkeypatch) -> None:
    wanted = recipe(image_folder(3, 20))
    expected = train(make_plan(wanted, load_data(wanted))).model.state_dict()
    plan = make_plan(wanted, load_data(wanted))
    items, asked = type(plan.data.pixels.pixels.pool.images.items), []
    content = items.content

    def lost(self: object, index: int) -> object:
        asked.append(index)
        if len(asked) == 60:
            raise UnreachableError("the address does not answer")
        return content(self, index)

    monkeypatch.setattr(items, "content", lost)
    with pytest.raises(UnreachableError, match="does not answer"):
        train(plan, RunFolder(tmp_path))
    monkeypatch.undo()
    checkpoint = latest_checkpoint(RunFolder(tmp_path))
    assert checkpoint is not None and read_record(checkpoint).step_in_epoch > 0
    resumed = train(make_plan(wanted, load_data(wanted)), RunFolder(tmp_path)).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.items())


def test_a_reader_that_ends_in_the_middle_of_a_step_is_told(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe(image_folder(3, 20), **{"data.workers": 1})
    plan = make_plan(wanted, load_data(wanted))

    def ended(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr("steradian.training.loop.steady_statistics", ended)
    with pytest.raises(ReaderError, match=r"(?s)were reading:.*class-.*Run the same command again"):
        train(make_plan(wanted.changed(**{"training.images_at_once": 5}), plan.data))


def test_a_batch_in_parts_has_the_gradient_of_the_whole_and_its_statistics_once() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    images = torch.randn(10, 3, 8, 8)
    gradients = []
    for at_once in (None, 3):
        plain.zero_grad()
        with steady_statistics(plain):
            in_parts(plain, images, at_once).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in plain.parameters()])
    for whole, divided in zip(*gradients, strict=True):
        torch.testing.assert_close(divided, whole, rtol=1e-5, atol=1e-5)
    norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    once = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    once.load_state_dict(norm.state_dict())
    for part in images.split(5):
        once(part)
    features = in_parts(norm, images, 5)
    with steady_statistics(norm):
        features.sum().backward()
    assert all(torch.equal(tensor, once.state_dict()[name]) for name, tensor in norm.state_dict().items())
    assert norm[1].momentum == 0.1


def test_large_batches_are_divided_by_what_their_activations_take(image_folder) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    # What a convolution keeps is its input, and a ReLU its output.
    assert activation_bytes(encoder, (3, 16, 16), 0) == 4 * (3 + 8) * 16 * 16
    assert part_size(128, 10, (1280, 640)) is None and part_size(128, 100, (12799, 3200)) == 32
    assert part_size(128, 10**6, (10, 10)) == 8
    photos = image_folder(3, 12)
    divided = recipe(photos, **{"training.images_at_once": 5})
    plan = make_plan(divided, load_data(divided))
    assert plan.at_once == 5 and any("passes in 4 parts of 5 images" in line for line in plan.lines)
    assert np.isfinite(train(plan).history[-1]["train_loss"])


def test_blocks_are_computed_again_where_they_can_be(image_folder) -> None:
    photos = image_folder(2, 10)
    changes = {"encoder": "mobilenetv3_small_050", "data.image_size": 32, "training.epochs": 1}
    states = []
    for recompute in (False, True):
        wanted = recipe(photos, **changes, **{"training.recompute": recompute})
        states.append(train(make_plan(wanted, load_data(wanted))).model.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match=r"training\.recompute needs blocks"):
        wanted = recipe(photos, **{"training.recompute": True})
        make_plan(wanted, load_data(wanted))


def test_the_history_and_the_end_say_where_the_time_went(image_folder, tmp_path: Path) -> None:
    wanted = recipe(image_folder(2, 20))
    notes: list[str] = []
    train(make_plan(wanted, load_data(wanted)), RunFolder(tmp_path), on_batch=lambda *told: notes.append(told[2]))
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert all(float(row["images_per_second"]) > 0 and 0 <= float(row["waiting"]) <= 1 for row in rows)
    assert "images/s" in notes[-1] and "waiting for images" in notes[-1]
    clock = StepClock({"waiting": 30.0, "views": 1.0, "encoder": 60.0, "head": 9.0, "update": 0.0}, images=1000)
    assert clock.verdict(gpu=False).startswith(
        "time: 60% encoder, 30% waiting for images, 9% head, 1% making views; 10"
    )
    assert "frozen layers" in clock.verdict(gpu=False)
    clock.seconds["waiting"], clock.decoding, clock.transforming = 90.0, 30.0, 10.0
    assert "data.workers" in clock.verdict(gpu=False) and "decoding take 75% of their time" in clock.verdict(gpu=False)
    assert "the GPU" in clock.verdict(gpu=True) and StepClock().verdict(gpu=False) == ""


def test_a_frozen_encoder_reads_the_stream_once_and_leaves_damaged_images_out(
    image_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("STERADIAN_CACHE", str(tmp_path / "cache"))
    photos = image_folder(2, 30)
    (photos / "class-0" / "003.png").write_bytes(b"broken")
    changes = {
        "encoder": "mobilenetv3_small_050",
        "data.image_size": 32,
        "training.freeze": "all",
        "training.cached_views": 2,
    }
    wanted = recipe(photos, **changes)
    plan = make_plan(wanted, load_data(wanted))
    assert isinstance(plan.data.pixels, PixelSet) and isinstance(plan.data.pixels.pixels, StreamedPixels)
    result = train(plan)
    assert np.isfinite(result.history[-1]["train_loss"])
    assert "003.png" in plan.all_warnings[-1]
    stored = [np.load(path) for path in (tmp_path / "cache" / "features").glob("*.npy")]
    assert sum(int(np.isnan(features[:, 0]).sum()) for features in stored) == 2
    again = make_plan(wanted, replace(plan.data, warnings=()))
    assert train(again).history == result.history
