"""The model card says what the model is, in words that hold."""

from __future__ import annotations

import json
from pathlib import Path

from steradian import Recognizer
from steradian.models import Thresholds
from steradian.studies.single_run import train
from steradian.training import Recipe


def test_training_writes_what_was_measured_with_its_interval(tmp_path: Path) -> None:
    recipe = Recipe().changed(**{"data.source": "digits", "training.epochs": 1, "encoder": "small"})
    done = train(recipe, tmp_path / "run", quiet=True)
    model = Recognizer.load(tmp_path / "run")
    text = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert model.readme == text and done.evaluation is not None
    accuracy = done.evaluation.metrics.numbers["closed"]["accuracy"]
    low, high = done.evaluation.metrics.numbers["closed"]["accuracy_interval"]
    assert f"| accuracy | {accuracy:.4f} (95 % {low:.4f} to {high:.4f}) |" in text
    assert model.model_id in text and "Trained on `digits`" in text and "Command: `from Python`" in text
    assert text.startswith("---\nlibrary_name: steradian\n") and "## Intended use" in text and "## Limits" in text
    for one in model.thresholds:
        assert f"| {one.far:g} | {one.cosine:.3f} | {one.low:.3f} to {one.high:.3f} |" in text


def test_a_model_of_which_nothing_is_known_says_so(tmp_path: Path) -> None:
    model = Recognizer.load("glyphs")
    # What was written of the calibrated one does not hold for this one.
    model.calibration, model.thresholds = None, Thresholds()
    model.save(tmp_path / "m")
    text = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "m" / "model.json").read_text())["id"] in text
    assert "Nothing was measured yet." in text and "It was not calibrated" in text and "It has no thresholds" in text
