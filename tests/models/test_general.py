"""The built-in models of pretrained encoders: right weights, nothing trained, and a name that a folder cannot take."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import steradian as st
from steradian.errors import StorageError, UsageError
from steradian.models import weight_packages
from steradian.models.encoders import build_encoder
from steradian.models.pretrained import PretrainedWeights
from steradian.models.weight_packages import PACKAGES


def test_its_embedding_is_what_the_encoder_gives() -> None:
    model = st.Recognizer.load("general")
    assert model.model_id == st.Recognizer.pretrained("lite0").model_id
    encoder, _ = build_encoder(PACKAGES["lite0"].encoder, channels=3, size=224)
    PretrainedWeights.open(PACKAGES["lite0"].encoder, "package").fill(encoder)
    picture = Image.fromarray(load_sample_image("flower.jpg"))
    pixels = torch.from_numpy(model.preprocessing.square(np.asarray(picture))[None].copy())
    with torch.no_grad():
        features = encoder.eval()(model.prepare(pixels)).numpy()
    np.testing.assert_allclose(model.embed([picture]), features / np.linalg.norm(features), atol=1e-5)
    answer = model.classify([picture])[0]
    assert answer.ranking[0][0] == "daisy" and not answer.calibrated and answer.candidates is None


@pytest.mark.parametrize("name", ["lite0", "lite2"])
def test_the_manifests_belong_to_the_packages(name: str) -> None:
    """Loading compares the id with every tensor; the thresholds say what they were measured on."""
    model = st.Recognizer.pretrained(name)
    assert model.preprocessing == PACKAGES[name].preprocessing
    assert [one.far for one in model.thresholds][:3] == [0.1, 0.01, 0.001] and len(set(model.classes)) == 1000
    assert "clothing" in model.thresholds[0].measured_on and "symbols" in model.thresholds[0].measured_on
    flower, china = (Image.fromarray(load_sample_image(f"{one}.jpg")) for one in ("flower", "china"))
    assert not model.verify(flower, china, far=0.1).same
    assert model.verify(flower, flower.crop((20, 20, 620, 420)), far=0.1).same


def test_lite2_has_its_own_preprocessing() -> None:
    """Mean and deviation of a half give more confident answers than those of other publishers."""
    model = st.Recognizer.pretrained("lite2")
    with torch.no_grad():
        pixels = torch.from_numpy(model.preprocessing.square(load_sample_image("flower.jpg"))[None].copy())
        right = model.probabilities(model(model.prepare(pixels))).max()
        other = replace(model.preprocessing, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        wrong = model.probabilities(model(other.normalize(pixels.float() / 255.0))).max()
    assert float(right) > 1.5 * float(wrong)


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no built-in encoder 'lite1'"):
        st.Recognizer.pretrained("lite1")
    monkeypatch.setitem(weight_packages.PACKAGES, "lite2", replace(PACKAGES["lite2"], distribution="not-installed"))
    with pytest.raises(UsageError, match="pip install not-installed"):
        st.Recognizer.pretrained("lite2")


def test_a_folder_takes_the_name_only_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command) -> None:
    monkeypatch.chdir(tmp_path)
    for person in ("ada", "ben"):
        (tmp_path / "general" / person).mkdir(parents=True)
        Image.fromarray(load_sample_image("flower.jpg")[:200, :200]).save(f"general/{person}/1.png")
    assert st.Recognizer.load("general").spec.encoder == PACKAGES["lite0"].encoder
    code, _, err = command("enroll", "general", "general")
    assert code == 2 and "--gallery FILE" in err and not list((tmp_path / "general").glob("*.db"))
    code, out, err = command("enroll", "general", "general", "--gallery", "people.db")
    assert (code, "2 name(s) enrolled" in out) == (0, True), err
    glyphs = Path(weight_packages.__file__).parent / "glyphs"
    shutil.copytree(glyphs, tmp_path / "general" / "model")
    assert st.Recognizer.load("general").spec.encoder == "residual-wide"


def test_a_copy_without_its_tensors_is_no_built_in_model(tmp_path: Path) -> None:
    shutil.copytree(Path(weight_packages.__file__).parent / "lite0", tmp_path / "lite0")
    with pytest.raises(StorageError, match=r"model\.safetensors"):
        st.Recognizer.load(tmp_path / "lite0")


def test_a_saved_copy_has_its_tensors(tmp_path: Path) -> None:
    model = st.Recognizer.load("general")
    manifest = model.save(tmp_path / "copy")
    again = st.Recognizer.load(tmp_path / "copy")
    assert again.model_id == manifest.id == model.model_id and again.thresholds == model.thresholds
