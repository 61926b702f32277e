"""Copies and near copies, in text, JSON and pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner

from steradian import data
from steradian.cli.main import app
from steradian.errors import UsageError
from steradian.studies.discovery.near_copies import near_copies


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Cuttings of two photographs; a mirrored copy in another part, a brighter one in another class."""
    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    for part, label in (("train", "china"), ("train", "flower"), ("test", "china"), ("test", "flower")):
        (tmp_path / "photos" / part / label).mkdir(parents=True)
    for number in range(4):
        box = (100 * number, 60 * number, 100 * number + 240, 60 * number + 240)
        china.crop(box).save(tmp_path / "photos" / "train" / "china" / f"{number}.png")
        flower.crop(box).save(tmp_path / "photos" / "train" / "flower" / f"{number}.png")
    own = Image.open(tmp_path / "photos" / "train" / "china" / "1.png")
    own.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "photos" / "test" / "china" / "mirrored.png")
    ImageEnhance.Brightness(own).enhance(1.2).save(tmp_path / "photos" / "train" / "flower" / "wrong.png")
    flower.crop((0, 0, 120, 120)).save(tmp_path / "photos" / "test" / "flower" / "other.png")
    return tmp_path / "photos"


def test_near_copies_across_parts_and_classes(photos: Path) -> None:
    found = near_copies(data.open(photos))
    names = found.pixels.names
    pairs = {
        frozenset((Path(names[a]).name, Path(names[b]).name)) for a, b in zip(found.first, found.second, strict=True)
    }
    assert {frozenset(("1.png", "mirrored.png")), frozenset(("1.png", "wrong.png"))} <= pairs
    assert (np.diff(found.cosine) <= 0).all() and (found.first != found.second).all() and found.leaks >= 1
    assert found.confused >= 1 and "nearly the same" in found.sentences()[0]
    assert len(near_copies(data.open(photos), nearness=1.01)) == 0
    assert near_copies(data.open(photos), nearness=1.01).sentences() == ["No two images are nearly the same."]


def test_by_a_model_of_ours_and_by_none(image_folder, tmp_path: Path) -> None:
    found = near_copies(data.open(image_folder(2, 5, size=32)), _glyphs(), nearness=0.5)
    assert found.pixels.channels == 1 and len(found.cosine) == len(found)
    with pytest.raises(UsageError, match="There is no model 'nonsense'"):
        near_copies(data.open(tmp_path / "photos"), "nonsense")


def _glyphs() -> str:
    from importlib import resources

    return str(resources.files("steradian.models") / "glyphs")


def test_the_page_and_the_json(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "train" / "china" / "0.png", photos / "train" / "china" / "again.png")
    out = tmp_path / "look"
    shown = CliRunner().invoke(app, ["data", str(photos), "--near-copies", "package", "--out", str(out), "--json"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert len(told["copies"]) == 1 and told["near_copies"][0]["cosine"] > 0.99 and told["near_copy_leaks"] >= 1
    page = (out / "report.html").read_text()
    for words in ("An image of each class", "The same picture twice", "Nearly the same", "span two parts"):
        assert words in page
    shown = CliRunner().invoke(app, ["data", str(photos), "--out", str(out)])
    assert shown.exit_code != 0
