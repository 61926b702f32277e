"""Promises are counted on new images, and fitted anew for a new place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import steradian as st
from steradian import metrics
from steradian.errors import DataError, UsageError
from steradian.metrics.checks import unit
from steradian.models import ModelSpec, Recognizer
from steradian.models.calibration import Calibration, StrangerScores, Threshold
from steradian.studies.evaluation.inputs import EvaluationInputs, embed_pixels
from steradian.studies.evaluation.promises import promise_numbers, promises_in_words, unlikeness
from steradian.studies.evaluation.recalibration import recalibrate
from steradian.studies.evaluation.report import evaluate
from steradian.studies.single_run import train
from steradian.training import Recipe
from steradian.training.run_folder import RunFolder

CLASSES = ("low", "middle", "high")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of gray pictures: bars at three heights, and the same with more noise and two more classes."""
    folder = tmp_path_factory.mktemp("places")
    for name, noise, heights in (("one", 10, {"low": 22, "middle": 14, "high": 5}), ("two", 70, {})):
        levels = heights or {"low": 22, "middle": 14, "high": 5, "steep": 9, "flat": 18}
        for label, (kind, row) in enumerate(levels.items()):
            (folder / name / kind).mkdir(parents=True)
            for number in range(30):
                generator = np.random.default_rng([label, number, noise])
                pixels = generator.normal(100, noise, (28, 28))
                pixels[row : row + 4] += 90
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / kind / f"{number}.png")
    return folder / "one", folder / "two"


@pytest.fixture(scope="module")
def trained(places: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe().changed(
        **{"data.source": str(places[0]), "training.epochs": 3, "training.batch_size": 16, "data.calibration": 0.4}
    )
    return train(recipe, tmp_path_factory.mktemp("trained") / "run", quiet=True).folder.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of one run: tests recalibrate it."""
    return shutil.copytree(trained, tmp_path / "run")


def inputs_of(model: Recognizer, folder: Path) -> EvaluationInputs:
    from steradian.studies.evaluation.run import pixels_for

    pixels, _, _ = pixels_for(model, str(folder), None, lambda items, total, what: items)
    known = pixels.labels < len(model.spec.classes)
    parts = (embed_pixels(model, pixels, np.flatnonzero(rows)) for rows in (known, ~known) if rows.any())
    return EvaluationInputs(pixels.classes, len(model.spec.classes), *parts)


def test_what_is_kept_is_counted_as_by_hand(run: Path, places: tuple[Path, Path]) -> None:
    model = Recognizer.load(run)
    model.thresholds = (Threshold(far=0.1, cosine=0.5, low=0.4, high=0.6, measured_on="x"),)
    inputs = inputs_of(model, places[1])
    assert inputs.known is not None and inputs.unknown is not None and model.calibration is not None
    numbers = promise_numbers(model, inputs)
    pairs = metrics.pair_scores(inputs.unknown.raw, inputs.unknown.labels)
    assert numbers["pairs"]["0.1"]["kept"] == pytest.approx(float((pairs.impostor > 0.5).mean()))
    assert numbers["pairs"]["0.1"]["count"] == len(pairs.impostor) == 900
    cosine = model.calibration.known_cosine(0.9)
    centers = unit(model.class_centers())
    nearest = (unit(inputs.known.raw) @ centers.T).max(axis=1)
    assert numbers["known"]["0.9"]["kept"] == pytest.approx(float((nearest >= cosine - 1e-6).mean()), abs=0.02)
    refused = (unit(inputs.unknown.raw) @ centers.T).max(axis=1) < cosine
    assert numbers["known"]["0.9"]["unknown_refused"] == pytest.approx(float(refused.mean()), abs=0.02)
    covered = inputs.known.outputs.ranks < inputs.known.outputs.set_sizes["0.9"]
    assert numbers["sets"]["0.9"]["kept"] == pytest.approx(float(covered.mean()))
    # Two unknown classes are too few for strangers, and for an interval over classes.
    assert "strangers" not in numbers and np.isnan(numbers["pairs"]["0.1"]["interval"]).all()
    assert any("too few classes for an interval" in row[2] for row in promises_in_words({"promises": numbers}))


def test_strangers_are_counted_in_galleries_of_half_the_classes() -> None:
    generator = np.random.default_rng(0)
    classes = tuple(f"c{number}" for number in range(40))
    spec = ModelSpec(
        encoder="small", embedding_size=8, loss="arcface", loss_options={}, classes=classes,
        preprocessing=st.data.Preprocessing(8, 1, (0.5,), (0.5,)),
    )  # fmt: skip
    model = Recognizer(spec).eval()
    labels = np.repeat(np.arange(40), 12)
    raw = (unit(generator.normal(size=(40, 8)))[labels] + 0.2 * generator.normal(size=(480, 8))).astype(np.float32)
    import torch

    from steradian.studies.evaluation.inputs import EmbeddingSet, head_outputs

    images = EmbeddingSet(raw, labels, head_outputs(model, torch.from_numpy(raw), labels))
    kept = promise_numbers(model, EvaluationInputs(classes, 40, images))["strangers"]
    assert kept["0.1"]["enrolled"] == 20 and 0.02 < kept["0.1"]["kept"] < 0.25 and kept["0.01"]["kept"] < 0.06
    # A model that says that strangers come nowhere near lowers the threshold.
    model.strangers = (StrangerScores(identities=20, rates=[0.5, 0.1, 0.01], cosines=[-0.5, 0.0, 0.1], measured_on=""),)
    assert (
        promise_numbers(model, EvaluationInputs(classes, 40, images))["strangers"]["0.1"]["kept"] > kept["0.1"]["kept"]
    )


def test_unlike_images_are_called_so() -> None:
    def one(kept: float, low: float, high: float) -> dict:
        return {"known": {"0.95": {"kept": kept, "interval": [low, high], "count": 100}}}

    assert "about as close" in (unlikeness(one(0.94, 0.9, 0.97)) or "")
    assert "unlike those of the calibration" in (unlikeness(one(0.7, 0.6, 0.8)) or "")
    assert "closer" in (unlikeness(one(1.0, 0.97, 1.0)) or "")
    assert unlikeness({}) is None and promises_in_words({}) == []


def test_a_new_place_is_recalibrated_and_the_model_stays_the_same(
    run: Path, places: tuple[Path, Path], tmp_path: Path, command
) -> None:
    before = Recognizer.load(run)
    result = evaluate(run, str(places[1]), out=tmp_path / "new", recalibrate=True)
    after = Recognizer.load(run)
    assert after.model_id == before.model_id and after.calibration != before.calibration
    assert str(places[1]) in after.calibration.measured_on and after.thresholds[0].measured_on != before.thresholds
    numbers = json.loads(RunFolder(tmp_path / "new").metrics.read_text())
    assert numbers["recalibrated"]["images"] == 150
    kept, again = numbers["promises"]["known"]["0.9"]["kept"], numbers["recalibrated"]["kept"]["known"]["0.9"]["kept"]
    assert abs(again - 0.9) < 0.1 and abs(again - 0.9) <= abs(kept - 0.9) + 1e-9
    assert "after recalibration" in RunFolder(tmp_path / "new").report.read_text()
    assert result.metrics.numbers["recalibrated"]["images"] == 150
    code, out, err = command("evaluate", str(run), str(places[1]), "--recalibrate", "--out", "again", "--all")
    assert code == 0 and "images of known classes that count as known" in out and "its id is the same" in out
    assert "of them are farther from every class" in err


def test_a_calibration_fitted_on_half_keeps_its_promise_on_the_other_half(run: Path, places: tuple[Path, Path]) -> None:
    model = Recognizer.load(run)
    model.calibration = Calibration(temperature=50.0, known_cosines={"0.9": 0.99999}, measured_on="wrong")
    inputs = inputs_of(model, places[1])
    assert promise_numbers(model, inputs)["known"]["0.9"]["kept"] < 0.3
    kept = recalibrate(model, inputs, "here").kept
    assert 0.8 <= kept["known"]["0.9"]["kept"] <= 1.0 and 0.8 <= kept["sets"]["0.9"]["kept"] <= 1.0
    assert model.calibration.measured_on == "here" and model.calibration.temperature != 50.0


def test_what_cannot_be_recalibrated_is_said(run: Path, places: tuple[Path, Path], tmp_path: Path, command) -> None:
    few = tmp_path / "few"
    for kind in CLASSES:
        (few / kind).mkdir(parents=True)
        for number in range(3):
            shutil.copy(places[0] / kind / f"{number}.png", few / kind)
    with pytest.raises(DataError, match="needs 20 labeled images .* but there are 9"):
        evaluate(run, str(few), out=tmp_path / "out", recalibrate=True)
    for model, source in ((run, None), ("glyphs", str(few)), (Recognizer.load(run), str(few))):
        with pytest.raises(UsageError, match="needs a run or model folder to save into, and DATA"):
            evaluate(model, source, out=tmp_path / "none", recalibrate=True)
    code, _, err = command("evaluate", str(run), str(few), "--recalibrate", "--protocol", "closed")
    assert code == 2 and "leave out --protocol" in err
