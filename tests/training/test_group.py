"""Several processes of one run: stopped on k, gone on with on k'; what is lost, and what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import group_worker
from launch import run_ranks

from steradian.errors import SteradianError, StorageError
from steradian.models import Recognizer
from steradian.models.heads import training_head_options
from steradian.models.tensors import load_tensors
from steradian.training import Recipe, RunFolder, make_plan, train
from steradian.training.checkpoint import latest_checkpoint, read_model, read_record
from steradian.training.plan import model_spec

WORKER = Path(__file__).parent / "group_worker.py"
SUBCENTERS = {"loss.name": "subcenter-arcface", "training.auxiliary": 0.0}


@pytest.fixture
def worker(programs: Path) -> Callable[..., list[tuple[int, str, str]]]:
    def run(count: int, folder: Path, stop: int = -1, changes: dict[str, object] | None = None, how: str = ""):
        words = (str(folder), str(stop), json.dumps(changes or {}), how)
        return run_ranks(count, WORKER, *words, python=programs / "python")

    return run


def whole_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model" / "model.safetensors")


def test_stopped_on_three_gone_on_with_one_and_finished_on_two(worker, tmp_path: Path) -> None:
    changes = SUBCENTERS
    assert [code for code, _, _ in worker(3, tmp_path, 3, changes)] == [130] * 3
    first = latest_checkpoint(RunFolder(tmp_path))
    assert first is not None and read_record(first).step == 3
    assert len(list(first.glob("*.safetensors"))) == 3
    assert read_record(first).tensors["model.head.weight"].shape == [10, 12]
    assert [code for code, _, _ in worker(1, tmp_path, 5, changes)] == [130]
    done = worker(2, tmp_path, changes=changes)
    assert [code for code, _, _ in done] == [0, 0], done
    assert len(json.loads(done[0][1])) == 2
    assert whole_weights(tmp_path)["head.weight"].shape == (30, 4)
    assert torch.isfinite(Recognizer.load(tmp_path).head.weight).all()


def test_early_stopping_hands_on_the_best_weights(worker, tmp_path: Path) -> None:
    changes = {"training.early_stopping": 5, "training.learning_rate": 0.05, "training.epochs": 3}
    done = worker(2, tmp_path, changes=changes)
    assert [code for code, _, _ in done] == [0, 0], done
    folder = latest_checkpoint(RunFolder(tmp_path))
    assert folder is not None
    model = Recognizer.load(tmp_path)
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    read_model(folder, model)
    best = model.state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in wanted.items())


def test_a_missing_or_short_part_is_an_error_and_never_filled_in(worker, tmp_path: Path) -> None:
    worker(2, tmp_path, 3)
    folder = latest_checkpoint(RunFolder(tmp_path))
    assert folder is not None
    shards = sorted(folder.glob("*.safetensors"))
    kept = shards[1].read_bytes()
    settings = Recipe().changed(**group_worker.CHANGES)
    whole = Recognizer(model_spec(settings, group_worker.digits()))
    read_model(folder, whole)
    shards[1].write_bytes(kept[: len(kept) // 2])
    with pytest.raises(StorageError, match="Could not read the checkpoint"):
        read_model(folder, whole)
    shards[1].unlink()
    with pytest.raises(StorageError, match=r"is not complete: .*head\.weight"):
        read_model(folder, whole)
    with pytest.raises(StorageError, match="is not complete"):
        train(make_plan(settings, group_worker.digits()), RunFolder(tmp_path))
    shards[1].write_bytes(kept)
    other = Recognizer(whole.spec.model_copy(update={"embedding_size": 5}))
    with pytest.raises(StorageError, match=r"another architecture: model\..* is float32 .* stored, .* in the model"):
        read_model(folder, other)


def test_killed_while_saving_the_checkpoint_before_is_whole(worker, tmp_path: Path) -> None:
    codes = [code for code, _, _ in worker(2, tmp_path, how="killed while saving")]
    assert -9 in codes
    folder = latest_checkpoint(RunFolder(tmp_path))
    assert folder is not None and read_record(folder).epoch == 0
    read_model(folder, Recognizer(model_spec(Recipe().changed(**group_worker.CHANGES), group_worker.digits())))


def test_a_lost_process_ends_the_others_with_a_clear_word(worker, tmp_path: Path) -> None:
    (chief, said, _), (other, _, _) = worker(2, tmp_path, 6, how="one dies")
    assert other == -9
    assert chief == 1 and "Another process of the group stopped" in said and "is complete" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss.name": "triplet"}, "'triplet' .* runs in one process"),
        ({"loss.options": {"head": "dense"}}, "head='dense' runs in one process"),
        ({"loss.options": {"head": "shard"}}, "head must be one of"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], words: str
) -> None:
    recipe = Recipe().changed(**changes)
    with pytest.raises(SteradianError, match=words):
        training_head_options(recipe.loss.name, recipe.loss.options, world_size=2)


def test_short_batches_of_sampled_classes_leave_a_process_without_images(worker, tmp_path: Path) -> None:
    options = {"head": "sampled", "sample_rate": 0.5}
    changes = {"loss.options": options, "training.batch_size": 3, "training.epochs": 1}
    done = worker(2, tmp_path, changes=changes)
    assert [code for code, _, _ in done] == [0, 0], done
