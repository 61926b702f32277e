"""The loop: schedules, determinism, exact resume, and failures that name themselves."""

from __future__ import annotations

import csv
import itertools
import signal
import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from steradian import losses
from steradian.errors import DataError, StorageError, TrainingError, UsageError
from steradian.models import Recognizer
from steradian.models.heads import ClassMeanHead
from steradian.training import Recipe, RunFolder, load_data, make_plan, read_recipe, train, write_recipe
from steradian.training.checkpoint import latest_checkpoint, restore, save_checkpoint
from steradian.training.loop import fit
from steradian.training.preflight import preflight
from steradian.training.recipe import DataSettings, Ramp, TrainingSettings, setting_names
from steradian.training.run import begin_again, start
from steradian.training.schedules import PlateauTracker, auxiliary_weight, ramp_value, rate_factor
from steradian.training.stages import Stage
from steradian.training.state import TrainingState
from steradian.training.tracking import CsvTracker, TensorBoardTracker


@pytest.fixture(scope="module")
def digits():
    whole = load_data(Recipe())
    few = replace(whole.splits, train=whole.splits.train[:200], validation=whole.splits.validation[:60])
    return replace(whole, splits=few)


def recipe(**changes) -> Recipe:
    settings = {"embedding_size": 3, "training.epochs": 2, "training.batch_size": 50}
    return Recipe().changed(**{**settings, **changes})


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss.name": "softmax"},
        {"loss.name": "triplet"},
        {"loss.name": "sphereface", "loss.options": {"lambda_base": 100.0}},
        {"training.optimizer": "sgd", "training.schedule": "cosine"},
        {"training.optimizer": "adam", "training.schedule": "plateau", "training.early_stopping": 1},
        {"training.schedule": "constant", "training.auxiliary": 0.0, "training.centers": "random", "views": None},
        {"training.bf16": True, "training.channels_last": False, "training.clip": None},
        {"training.margin_ramp": None, "training.scale_ramp": None},
        {"training.average": 0.99},
        {"training.optimizer": "muon"},
    ],
    ids=str,
)
def test_same_seed_same_history_and_weights(digits, changes: dict) -> None:
    first, second = (train(make_plan(recipe(**changes), digits)) for _ in range(2))
    assert first.history == second.history
    assert_same(state_of(first.model), state_of(second.model))
    other = train(make_plan(recipe(**changes, **{"training.seed": 1}), digits))
    assert other.history != first.history


def test_training_learns(digits) -> None:
    found = train(make_plan(recipe(**{"training.epochs": 12}), digits))
    assert found.history[-1]["validation_accuracy"] > 0.6 > found.history[0]["validation_accuracy"]


@pytest.fixture(scope="module")
def never_stopped(digits, request: pytest.FixtureRequest) -> tuple[Recipe, TrainingState]:
    """Train by a loss and settings without a stop; tests that stop at different steps compare with one training."""
    loss, kept = request.param
    wanted = recipe(**{"loss.name": loss, **kept})
    torch.manual_seed(0)
    whole = start(make_plan(wanted, digits))
    batches, held_out = (
        make_plan(wanted, digits).batches(part) for part in (digits.splits.train, digits.splits.validation)
    )
    fit(whole, wanted.training, [Stage(wanted.training.epochs, 0, batches, held_out)])
    return wanted, whole


@pytest.mark.parametrize(
    "never_stopped",
    [
        *itertools.product(
            ("arcface", "triplet", "sphereface"), ({"training.early_stopping": 5}, {"training.average": 0.9})
        ),
        ("arcface", {"training.optimizer": "muon"}),
    ],
    ids=str,
    indirect=True,
)
@pytest.mark.parametrize("stop", [1, 3, 4, 6, 7])
def test_resume_is_exact_from_any_step(digits, tmp_path: Path, never_stopped, stop: int) -> None:
    """Stop after ``stop`` of 8 steps, save, restore into a fresh state, go on: bit-identical to never stopping."""
    wanted, whole = never_stopped
    settings = wanted.training
    batches = make_plan(wanted, digits).batches(digits.splits.train)
    held_out = make_plan(wanted, digits).batches(digits.splits.validation)

    class Stop(Exception):
        pass

    def at_stop(state, loss_value) -> None:
        if state.step == stop:
            raise Stop

    halted = start(make_plan(wanted, digits))
    with pytest.raises(Stop):
        fit(halted, settings, [Stage(settings.epochs, 0, batches, held_out)], on_step=at_stop)
    folder = save_checkpoint(RunFolder(tmp_path), halted, recipe="r", data="d")
    torch.manual_seed(999)
    resumed = start(make_plan(wanted, digits))
    restore(resumed, folder)
    fit(resumed, settings, [Stage(settings.epochs, 0, batches, held_out)])
    assert resumed.history == whole.history
    assert_same(state_of(resumed.model), state_of(whole.model))


SCRIPT = """
import sys, time, torch
from dataclasses import replace
from pathlib import Path
from steradian.training import Recipe, RunFolder, load_data, make_plan, train
from steradian.training import run as module
torch.set_num_threads(1)
module.CHECKPOINT_SECONDS = 0.0
recipe = Recipe().changed(**{"embedding_size": 3, "training.epochs": 6, "training.batch_size": 50})
whole = load_data(recipe)
few = replace(whole.splits, train=whole.splits.train[:200], validation=whole.splits.validation[:60])
digits = replace(whole, splits=few)
pause = float(sys.argv[2])
def slowly(step, total, note):
    print(step, flush=True)
    time.sleep(pause)
found = train(make_plan(recipe, digits), RunFolder(Path(sys.argv[1])), on_batch=slowly)
found.model.save(Path(sys.argv[1]) / "model")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_and_run_again_equals_never_killed(programs: Path, tmp_path: Path, number: int, history) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def run(folder: str, pause: float) -> subprocess.Popen[str]:
        command = [programs / "python", str(script), str(tmp_path / folder), str(pause)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    whole = run("whole", 0.0)
    killed = run("killed", 0.05)
    for line in killed.stdout:
        if int(line) >= 14:
            killed.send_signal(number)
            break
    killed.communicate(timeout=60)
    assert killed.returncode != 0
    assert latest_checkpoint(RunFolder(tmp_path / "killed")) is not None
    second = run("killed", 0.0)
    steps = second.communicate(timeout=120)[0].split()
    assert second.returncode == 0 and int(steps[0]) > 12
    assert whole.communicate(timeout=120) and whole.returncode == 0
    weights = [(tmp_path / folder / "model/model.safetensors").read_bytes() for folder in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert history(tmp_path / "whole") == history(tmp_path / "killed")


def test_checkpoints_of_another_training_are_refused_and_kept(digits, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    train(make_plan(recipe(), digits), run)
    kept = latest_checkpoint(run)
    fewer = replace(digits, digest="of other images")
    plans = {
        "another recipe": make_plan(recipe(**{"training.seed": 5}), digits),
        "other images: some were changed, added or removed": make_plan(recipe(), fewer),
    }
    for words, plan in plans.items():
        with pytest.raises(UsageError, match=f"unfinished training of {words}.*--exist-ok"):
            train(plan, run)
        assert latest_checkpoint(run) == kept
    begin_again(make_plan(recipe(), digits), run)
    assert latest_checkpoint(run) == kept
    begin_again(plan, run)
    assert latest_checkpoint(run) is None


def test_damaged_checkpoint_says_so(digits, tmp_path: Path) -> None:
    train(make_plan(recipe(), digits), RunFolder(tmp_path))
    folder = latest_checkpoint(RunFolder(tmp_path))
    (folder / "tensors.safetensors").write_bytes(b"broken")
    with pytest.raises(StorageError, match="damaged"):
        train(make_plan(recipe(), digits), RunFolder(tmp_path))
    (folder / "state.json").write_text("{}")
    with pytest.raises(StorageError, match="Remove the folder"):
        train(make_plan(recipe(), digits), RunFolder(tmp_path))


def test_history_csv_is_the_history(digits, tmp_path: Path) -> None:
    found = train(make_plan(recipe(), digits), RunFolder(tmp_path))
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == [row["train_loss"] for row in found.history]


def test_not_finite_loss_names_step_files_and_logit(digits) -> None:
    poisoned = recipe(**{"training.learning_rate": 1e30, "training.clip": None, "training.schedule": "constant"})
    with pytest.raises(TrainingError, match=r"(?s)step \d+ \(epoch \d+\).*Largest logit.*digits\[\d+\]"):
        train(make_plan(poisoned, digits))


def test_a_head_parameter_without_gradient_is_an_error(digits) -> None:
    state = start(make_plan(recipe(), digits))
    state.model.head.register_parameter("forgotten", torch.nn.Parameter(torch.ones(2)))
    state.silent.add("forgotten")
    batches = make_plan(recipe(), digits).batches(digits.splits.train)
    with pytest.raises(TrainingError, match="'forgotten' receives no gradient"):
        fit(state, recipe().training, [Stage(recipe().training.epochs, 0, batches)])


def test_a_head_parameter_with_zero_gradient_is_an_error(digits) -> None:
    state = start(make_plan(recipe(), digits))
    state.model.head.weight.register_hook(lambda gradient: gradient * 0)
    batches = make_plan(recipe(), digits).batches(digits.splits.train)
    with pytest.raises(TrainingError, match="'weight' receives no gradient"):
        fit(state, recipe().training, [Stage(recipe().training.epochs, 0, batches)])


def test_early_stopping_restores_the_best(digits) -> None:
    wanted = recipe(**{"training.epochs": 30, "training.early_stopping": 2, "training.learning_rate": 0.05})
    found = train(make_plan(wanted, digits))
    losses = [row["validation_loss"] for row in found.history]
    assert len(losses) < 30 and losses.index(min(losses)) == len(losses) - 3


def test_the_mean_of_the_weights_is_the_model(digits) -> None:
    """Formula: m = d m + (1 - d) w after every step, with a d that starts at 1 / 10 and grows to the decay."""
    wanted = recipe(**{"training.average": 0.9, "training.epochs": 2})
    seen: list[dict[str, torch.Tensor]] = []
    plan = make_plan(wanted, digits)
    state = start(plan)
    batches = plan.batches(digits.splits.train)
    fit(state, wanted.training, [Stage(2, 0, batches)], on_step=lambda state, _: seen.append(state_of(state.model)))
    expected = seen[0]["encoder.layers.0.weight"].double()
    for step, weights in enumerate(seen[1:], start=1):
        decay = min(0.9, (1.0 + step) / (10.0 + step))
        expected = decay * expected + (1.0 - decay) * weights["encoder.layers.0.weight"].double()
    found = state_of(state.model)
    torch.testing.assert_close(found["encoder.layers.0.weight"].double(), expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(found["encoder.layers.0.weight"], seen[-1]["encoder.layers.0.weight"])
    assert torch.equal(found["encoder.layers.1.num_batches_tracked"], seen[-1]["encoder.layers.1.num_batches_tracked"])


def test_mean_and_best_weights_exclude_each_other(digits) -> None:
    with pytest.raises(UsageError, match="set only one of them"):
        preflight(make_plan(recipe(**{"training.average": 0.9, "training.early_stopping": 3}), digits))


def test_pair_losses_end_with_class_means(digits) -> None:
    found = train(make_plan(recipe(**{"loss.name": "triplet"}), digits))
    assert isinstance(found.model.head, ClassMeanHead)
    torch.testing.assert_close(found.model.head.weight.norm(dim=1), torch.ones(10))


def test_schedules() -> None:
    settings = TrainingSettings(warmup=0.2, auxiliary_until=0.6)
    factors = [rate_factor(settings, progress) for progress in np.linspace(0, 1, 101)]
    assert factors[0] == pytest.approx(0.04) and max(factors) == pytest.approx(1.0) and factors[-1] == 0.0
    assert np.argmax(factors) == 20
    cosine = settings.model_copy(update={"schedule": "cosine"})
    assert [rate_factor(cosine, p) for p in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0, 0.5, 1, 0])
    ramp = Ramp(start=0.2, begin=0.1, end=0.5)
    assert [ramp_value(ramp, p) for p in (0, 0.1, 0.3, 0.5, 1)] == pytest.approx([0.2, 0.2, 0.6, 1, 1])
    assert ramp_value(None, 0.3) == 1.0
    assert [auxiliary_weight(settings, p) for p in (0, 0.3, 0.6, 1)] == pytest.approx([1, 0.5, 0, 0])


def test_plateau_cuts_after_patience() -> None:
    watch = PlateauTracker()
    cuts = []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.8):
        watch.see(loss)
        watch.cut_if_waited(2)
        cuts.append(watch.cuts)
    assert cuts == [0, 0, 0, 0, 1, 1, 1] and watch.best == 0.8


def test_recipe_round_trip_and_mistakes(tmp_path: Path) -> None:
    wanted = recipe(**{"loss.options": {"margin": 0.2}, "training.margin_ramp.end": 0.7})
    write_recipe(tmp_path / "r.yaml", wanted)
    assert read_recipe(tmp_path / "r.yaml") == wanted
    assert wanted.digest() == read_recipe(tmp_path / "r.yaml").digest() != recipe().digest()
    with pytest.raises(UsageError, match=r"no setting 'training\.epoch'.*Did you mean 'training\.epochs'"):
        recipe(**{"training.epoch": 3})
    with pytest.raises(UsageError, match=r"training\.epochs.*but it is 'many'"):
        recipe(**{"training.epochs": "many"})
    with pytest.raises(UsageError, match="no setting 'trainin"):
        recipe(**{"trainin.x": 3})
    for text, words in (("- a", "mapping"), ("a: [", "valid YAML"), ("foo: 1", "no setting 'foo'")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UsageError, match=words):
            read_recipe(tmp_path / "bad.yaml")
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['touch executed']")
    with pytest.raises(UsageError):
        read_recipe(tmp_path / "evil.yaml")
    assert "training.margin_ramp.end" in setting_names()


def test_a_class_without_training_images_is_an_error(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 8), dtype=np.uint8)
    rows = ["path,label,split"]
    from PIL import Image

    for index in range(6):
        Image.fromarray(pixels[index]).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{'ab'[index % 2]},{'train' if index % 2 == 0 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match="'b' .* has no image to train on"):
        load_data(Recipe(data=DataSettings(source=str(tmp_path / "list.csv"))))


def test_tensorboard_is_optional(digits, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(make_plan(recipe(**{"training.tensorboard": True}), digits), RunFolder(tmp_path))
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert isinstance(CsvTracker(tmp_path / "x.csv"), CsvTracker) and TensorBoardTracker


@pytest.mark.parametrize("name", losses.names())
def test_every_loss_trains(name: str, digits, tmp_path: Path) -> None:
    """A few epochs from the fitted options, without ramps: the loss falls and every parameter learns."""
    options = {"loss.name": name, "embedding_size": 4, "training.images_per_class": 5, "training.auxiliary": 0.0}
    ramps = {"training.margin_ramp": None, "training.scale_ramp": None, "training.epochs": 3}
    trained = train(make_plan(recipe(**options, **ramps), digits), RunFolder(tmp_path))
    first, last = trained.history[0]["train_loss"], trained.history[-1]["train_loss"]
    assert last < first
    logits = trained.model.head.logits(torch.randn(3, 4))
    assert logits.shape == (3, 10) and torch.isfinite(logits).all()
    trained.model.save(tmp_path / "saved")
    images = torch.rand(2, 1, 8, 8)
    np.testing.assert_allclose(
        Recognizer.load(tmp_path / "saved").embed(images), trained.model.embed(images), rtol=1e-5, atol=1e-6
    )


def test_dynamic_margins_come_from_the_training_images(digits, tmp_path: Path) -> None:
    trained = train(make_plan(recipe(**{"loss.name": "dynamic-arcface"}), digits), RunFolder(tmp_path))
    counts = np.bincount(digits.pixels.labels[digits.splits.train], minlength=10).tolist()
    assert trained.model.spec.loss_options["class_counts"] == counts
    margins = trained.model.head.margin.margins
    assert int(margins.argmax()) == int(np.argmin(counts)) and float(margins.max()) > float(margins.min())


def test_sub_centers_start_around_the_spread_directions(digits) -> None:
    plain = start(make_plan(recipe(**{"loss.name": "arcface"}), digits)).model.head.weight.detach()
    several = start(make_plan(recipe(**{"loss.name": "subcenter-arcface"}), digits)).model.head.weight.detach()
    cosine = torch.nn.functional.cosine_similarity(several, plain.repeat_interleave(3, dim=0))
    assert several.shape == (30, 3) and cosine.min() > 0.9 and len(torch.unique(several, dim=0)) == 30


def test_one_versus_rest_probabilities_stand_alone(digits, tmp_path: Path) -> None:
    trained = train(
        make_plan(recipe(**{"loss.name": "sphereface2", "training.epochs": 1}), digits), RunFolder(tmp_path)
    )
    (answer,) = trained.model.classify(torch.rand(1, 1, 8, 8), top=10)
    logits = trained.model.head.logits(trained.model.raw_embeddings(torch.rand(1, 1, 8, 8)))
    assert len(answer.ranking) == 10 and abs(sum(p for _, p in answer.ranking) - 1.0) > 1e-3, logits
