"""Which layers of a pretrained encoder to keep: the networks, the choice by validation images, the page."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from steradian.errors import UsageError
from steradian.models import Recognizer
from steradian.studies.single_run import train
from steradian.studies.transferability.freezing import study_freezing
from steradian.studies.transferability.freezing_report import advice, build_report, display_of, numbers_of
from steradian.studies.transferability.freezing_result import FreezeCell, FreezingResult
from steradian.training import Recipe

SHORT = {
    "data.calibration": 0.0,
    "training.epochs": 1,
    "training.batch_size": 256,
    "training.auxiliary": 0.0,
    "encoder": "eight-layer",
}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught") / "run"
    train(Recipe().changed(**SHORT), folder, quiet=True)
    return folder / "model"


@pytest.fixture(scope="module")
def finished(taught: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("freezing") / "out"
    recipe = Recipe().changed(**SHORT, weights=str(taught))
    return recipe, out, study_freezing(recipe, out=out, layers=(0, 3, 7), seeds=1, jobs=1, quiet=True)


def test_every_network_has_the_layers_it_should(finished, taught: Path) -> None:
    _, out, found = finished
    assert not found.failures and found.depth == 7
    source = Recognizer.load(taught).encoder.state_dict()
    weights = {name: int(name.split(".")[1]) for name in source if name.endswith("weight") and source[name].ndim > 1}

    def same(name: str) -> set[int]:
        model = Recognizer.load(out / "cells" / name / "model").encoder.state_dict()
        return {layer for key, layer in weights.items() if torch.equal(model[key], source[key])}

    assert same("seed0-kept-3") == {0, 1, 2} == same("seed0-moved-3")
    assert same("seed0-kept-7") == set(range(7)) and not same("seed0-kept-0") | same("seed0-tuned-3")
    assert {path.name for path in (out / "cells").iterdir()} == {
        *("seed0-scratch-0", "seed0-kept-0", "seed0-kept-3", "seed0-kept-7", "seed0-moved-3", "seed0-tuned-3")
    }


def test_the_page_and_the_same_command_again(finished) -> None:
    recipe, out, found = finished
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/result.json")}
    again = study_freezing(recipe, out=out, layers=(0, 3, 7), seeds=1, jobs=1, quiet=True)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()) and again.cells == found.cells
    page = build_report(found).html()
    assert f"--freeze {found.advised()}" in page and "Without the pretrained weights" in page
    assert set(display_of(found).values) == {"kept", "moved", "tuned"} and numbers_of(found)["depth"] == 7
    with pytest.raises(UsageError, match="another freezing study"):
        study_freezing(recipe.changed(**{"training.seed": 5}), out=out, seeds=1, jobs=1, quiet=True)
    with pytest.raises(UsageError, match="so 0 to 7 can be kept, not 9"):
        study_freezing(recipe, out=out, layers=(9,), seeds=1, jobs=1, quiet=True)
    with pytest.raises(UsageError, match="name its --weights"):
        study_freezing(recipe.changed(weights=None), out=out, seeds=1, jobs=1, quiet=True)


def test_validation_images_choose_and_test_images_tell() -> None:
    cells = []
    for seed in range(3):
        for n, validation, accuracy, seconds in ((0, 0.80, 0.9, 30.0), (2, 0.86, 0.84, 20.0), (4, 0.86, 0.83, 10.0)):
            noise = 0.01 * seed * (n == 2)
            cells.append(FreezeCell(seed, "kept", n, accuracy + noise, validation, 100, seconds))
        cells.append(FreezeCell(seed, "scratch", 0, 0.3, 0.3, 100, 30.0))
    found = FreezingResult(Recipe(), 4, (0, 2, 4), 3, tuple(cells), {}, {})
    assert found.advised() == 4, "of equal ones that which trains less, whatever test images say"
    said = advice(found)
    assert said[0].startswith("Keep the first 4 of 4 layers (--freeze 4): best on validation images, 0.8300 on test")
    assert "n = 2" in said[1] and said[2] == "Without the pretrained weights: 0.3000."
