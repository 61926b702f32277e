"""Sets of pictures for a model that finds regions: what shows nothing is counted, left out or taken by its middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import steradian as st
from steradian import Recognizer
from steradian.data.pixels import load_for, load_pixels
from steradian.errors import DataError
from steradian.finding import Region, finders
from steradian.studies.evaluation.listed_pairs import measure_listed_pairs
from steradian.training import Recipe, load_data

SIDE = 28


class Bright:
    """Finds the picture's left square, unless it is black."""

    template = None

    def __call__(self, pixels: np.ndarray) -> list[Region]:
        return [Region((0.0, 0.0, float(SIDE), float(SIDE)))] if pixels[:, :SIDE].any() else []


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(finders.BUILT_IN, "bright", Bright)
    finders.finder.cache_clear()
    yield
    finders.finder.cache_clear()


def people(folder: Path, *, dark: dict[str, int], each: int = 4) -> Path:
    """Write ``each`` pictures of four people; the left half of the first ones of ``dark`` is black."""
    generator = np.random.default_rng(0)
    for name in ("ana", "ben", "cem", "dora"):
        for number in range(1, each + 1):
            pixels = generator.integers(1, 255, (SIDE, 2 * SIDE), np.uint8)
            if number <= dark.get(name, 0):
                pixels[:, :SIDE] = 0
            path = folder / name / f"{name}_{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


def test_more_than_a_twentieth_may_show_nothing_but_not_half(tmp_path: Path) -> None:
    images = st.data.open(people(tmp_path / "few", dark={"ana": 2, "ben": 1}))
    shape = {"size": SIDE, "channels": 1, "finder": "bright"}
    loaded = load_pixels(images, **shape)
    assert len(loaded) == 13 and [Path(one.name).name for one in loaded.failed] == [
        "ana_0001.png", "ana_0002.png", "ben_0001.png",
    ]  # fmt: skip
    assert {one.reason for one in loaded.failed} == {"nothing was found in it by 'bright'"} and not loaded.unfound
    many = st.data.open(people(tmp_path / "many", dark=dict.fromkeys(("ana", "ben", "cem"), 3)))
    with pytest.raises(DataError, match=r"9 of 16 images in .* cannot be used, more than 50%"):
        load_pixels(many, **shape)


def test_classes_in_which_nothing_is_found_are_left_out_and_named(tmp_path: Path) -> None:
    images = st.data.open(people(tmp_path, dark={"ana": 4, "cem": 4}))
    loaded = load_pixels(images, size=SIDE, channels=1, finder="bright")
    assert loaded.lost == ("ana", "cem") and loaded.classes == ("ben", "dora")
    assert loaded.labels.tolist() == [0] * 4 + [1] * 4
    settings = {"data.source": str(tmp_path), "data.finder": "bright", "data.image_size": SIDE, "encoder": "small"}
    warnings = load_data(Recipe().changed(**settings)).warnings
    assert any(
        "2 classes are left out, because nothing was found in any image: 'ana', 'cem'." in one for one in warnings
    )


def test_every_class_whose_images_are_damaged_is_named(tmp_path: Path) -> None:
    folder = people(tmp_path, dark={}, each=40)
    for name in ("ana", "ben"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name / "1.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"No image of each of 2 classes: 'ana', 'ben' in .* can be used"):
        load_pixels(st.data.open(folder), size=SIDE, channels=1)


def test_another_finder_cuts_out_what_the_first_does_not_find(tmp_path: Path) -> None:
    images = st.data.open(people(tmp_path, dark={"ana": 4, "ben": 1}))
    shape = st.data.Preprocessing(SIDE, 1, (0.5,), (0.5,), finder="bright")
    loaded, plan = load_for(images, shape, otherwise="center")
    assert len(loaded) == 16 and not loaded.failed and not plan.streams
    assert [Path(name).stem for name in loaded.unfound] == ["ana_0001", "ana_0002", "ana_0003", "ana_0004", "ben_0001"]
    picture = images.pixels(0, shape.shortest)
    assert (loaded.pixels[0] == replace(shape, finder="center").square(picture)).all()
    other = images.pixels(15, shape.shortest)
    assert (loaded.pixels[15] == shape.square(other)).all()


def test_no_pair_of_a_list_is_left_out(tmp_path: Path) -> None:
    folder = people(tmp_path / "people", dark={"ana": 4, "ben": 1})
    drawings = Recognizer.load("glyphs")
    finding = replace(drawings.preprocessing, finder="bright")
    model = Recognizer(drawings.spec.model_copy(update={"preprocessing": finding})).eval()
    model.load_state_dict(drawings.state_dict())
    model.save(tmp_path / "model")
    rows = ["1\t4", *(f"{name}\t1\t2" for name in ("ana", "ben", "cem", "dora"))]
    rows += ["ana\t1\tben\t1", "ana\t3\tcem\t1", "ben\t2\tdora\t1", "cem\t2\tdora\t2"]
    (tmp_path / "pairs.txt").write_text("\n".join(rows) + "\n")
    result = measure_listed_pairs(
        tmp_path / "model", str(folder), tmp_path / "pairs.txt", out=tmp_path / "out", quiet=True
    )
    assert result.numbers["verification"]["genuine_pairs"] == result.numbers["verification"]["impostor_pairs"] == 4
    # Of ana three pictures and of ben one are in the list.
    assert "In 4 of 9 pictures nothing was found by 'bright': their middle is compared" in result.notes[0]
