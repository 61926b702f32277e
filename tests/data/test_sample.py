"""What a few images say of a set: sizes, gray or color, drawings or photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits, load_sample_image

from steradian import data
from steradian.data.sample import page_of, sample_images


def drawing(seed: int, size: int = 60) -> Image.Image:
    generator = np.random.default_rng(seed)
    page = Image.new("L", (size, size), 255)
    points = [tuple(point) for point in generator.uniform(5, size - 5, (5, 2))]
    ImageDraw.Draw(page).line(points, fill=0, width=3)
    return page


def test_drawings_on_light_and_dark_pages_gray_or_in_color() -> None:
    pixels = np.asarray(drawing(0))
    assert page_of(pixels) == "light" and page_of(255 - pixels) == "dark"
    assert page_of(np.repeat(pixels[:, :, None], 3, axis=2)) == "light"
    small = np.asarray(drawing(0).resize((28, 28), Image.Resampling.LANCZOS))
    assert page_of(small) == "light"


def test_photographs_blank_pages_and_shades_are_no_drawings() -> None:
    flower = load_sample_image("flower.jpg")
    assert page_of(flower) is None and page_of(np.asarray(Image.fromarray(flower).convert("L"))) is None
    assert page_of(np.full((20, 20), 255, np.uint8)) is None
    assert page_of(np.tile(np.arange(256, dtype=np.uint8), (20, 1))) is None
    digit = (load_digits().images[0] * 15.9).astype(np.uint8)
    assert page_of(digit) is None
    red = np.full((20, 20, 3), 255, np.uint8)
    red[:, 8:12, 1:] = 0
    red[:, :2] = (0, 0, 255)
    assert page_of(red) is None


@pytest.mark.parametrize("photographs", [0, 1, 3])
def test_nearly_all_images_must_be_drawings(tmp_path: Path, photographs: int) -> None:
    for index in range(12):
        folder = tmp_path / f"c{index % 3}"
        folder.mkdir(exist_ok=True)
        drawn = index >= photographs
        picture = drawing(index) if drawn else Image.fromarray(load_sample_image("flower.jpg")[:60, :60]).convert("L")
        picture.save(folder / f"{index}.png")
    sample = sample_images(data.open(str(tmp_path)))
    assert sample.page == ("light" if photographs < 2 else None)
    assert sample.native_size == 60 and sample.gray
