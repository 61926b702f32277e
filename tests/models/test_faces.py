"""The built-in model of faces takes whole photographs: found, aligned and embedded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageOps

from steradian import Recognizer
from steradian.errors import DataError, InputError, UsageError
from steradian.finding import faces as faces_file
from steradian.models.encoders import DLIB_FACE, build_encoder
from steradian.models.export import export
from steradian.models.exported import ExportedModel
from steradian.models.locations import BUILT_IN, model_folder


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return Recognizer.load("faces")


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB")


def test_one_person_in_any_picture_of_hers(model: Recognizer, portrait: Image.Image) -> None:
    small, turned = portrait.resize((256, 300)), portrait.rotate(20, resample=Image.Resampling.BICUBIC)
    dark = Image.fromarray((np.asarray(portrait) * 0.6).astype(np.uint8))
    for other in (ImageOps.mirror(portrait), small, turned, dark, portrait.convert("L")):
        answer = model.verify(portrait, other)
        assert answer.same and answer.far == 1e-3 and answer.probability is not None and answer.probability > 0.9
    assert model.embed([portrait]).shape == (1, 128)


def test_none_or_two_are_told(model: Recognizer, portrait: Image.Image) -> None:
    two = Image.fromarray(np.hstack([np.asarray(portrait), np.asarray(ImageOps.mirror(portrait))]))
    with pytest.raises(DataError, match="2 regions were found"):
        model.embed([two])
    with pytest.raises(DataError, match="nothing was found in it by 'faces'"):
        model.embed([Image.new("RGB", (200, 200), "gray")])
    assert len(model.preprocessing.regions(np.asarray(two))) == 2


def test_a_folder_of_its_name_goes_first_only_with_a_model(
    model: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    assert model_folder("faces").name == "faces" and model_folder("faces") != tmp_path / "faces"
    model.save(tmp_path / "faces")
    assert model_folder("faces") == Path("faces") and Recognizer.load("faces").model_id == model.model_id
    assert "faces" in BUILT_IN


def test_weights_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="_model_v1.dat are not installed: .*pip install"):
        Recognizer.load("faces")


def test_a_single_class_is_no_choice(command, portrait: Image.Image, tmp_path: Path) -> None:
    portrait.save(tmp_path / "one.png")
    code, _, err = command("classify", "faces", "one.png")
    assert code == 2 and "nothing to choose from" in err


def test_gray_input_is_refused() -> None:
    with pytest.raises(InputError, match="takes color images"):
        build_encoder(DLIB_FACE, channels=1, size=150)
    with pytest.raises(InputError, match="131 pixels or more"):
        build_encoder(DLIB_FACE, channels=3, size=112)


def test_an_export_finds_and_aligns_too(model: Recognizer, portrait: Image.Image, tmp_path: Path) -> None:
    export(model, tmp_path / "onnx", "onnx")
    exported = ExportedModel.load(tmp_path / "onnx")
    assert exported.preprocessing.finder == "faces"
    assert float((exported.embed([portrait]) * model.embed([portrait])).sum()) == pytest.approx(1.0, abs=1e-4)
