"""Parts of a picture that its similarity to another rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steradian.data.preprocessing import Preprocessing
from steradian.models.evidence import CELLS, GRAY, LOOKS, SMALL, covered, evidence, lost, shaded


class Corner:
    """A model whose embedding is the mean light of the upper left quarter, and of the rest."""

    def __init__(self, channels: int, size: int, crop: float = 1.0) -> None:
        self.preprocessing = Preprocessing(size, channels, (0.5,) * channels, (0.5,) * channels, crop)

    def embed_squares(self, squares: Any) -> np.ndarray:
        vectors = []
        for square in squares.astype(np.float64):
            half = square.shape[1] // 2
            corner = square[:, :half, :half].mean()
            vectors.append([corner, (square.mean() * 4 - corner) / 3])
        rows = np.array(vectors)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_each_part_is_covered_once_in_the_median_color() -> None:
    square = np.arange(3 * 16 * 16, dtype=np.uint64).reshape(3, 16, 16).astype(np.uint8)
    pictures = covered(square)
    assert pictures.shape == (LOOKS, 3, 16, 16) and (pictures[0] == square).all()
    changed = (pictures[1:] != square).any(axis=1)
    # Windows of two cells, of two pixels each; a pixel that has the median color already does not change.
    assert all(one.sum() <= 16 and one.any() for one in changed)
    corners = {tuple(np.argwhere(one).min(axis=0) // 2) for one in changed}
    assert len(corners) == LOOKS - 1
    assert (covered(np.full((1, 5, 5), 9, np.uint8)) == 9).all()


@pytest.mark.parametrize("channels, size, crop", [(1, 28, 1.0), (3, 32, 0.875), (3, 240, 0.9)])
def test_clear_where_the_pictures_are_alike(channels: int, size: int, crop: float) -> None:
    """The other picture is light in its upper left quarter only, and so is this one, but for the dark rest."""
    model, other = Corner(channels, size, crop), np.array([1.0, 0.0])
    side = model.preprocessing.shortest
    picture = np.full((side, side) if channels == 1 else (side, side, 3), 100, np.uint8)
    picture[: side // 2, : side // 2] = 200
    square = np.full((channels, size, size), 100, np.uint8)
    square[:, : size // 2, : size // 2] = 200
    pictures = covered(square)
    told = lost(model.embed_squares(pictures), other)
    half = CELLS // 2
    assert told.shape == (CELLS, CELLS) and (told[: half - 1, : half - 1] > 0.01).all()
    assert abs(told[half + 1 :]).max() < 1e-6 and abs(told[:, half + 1 :]).max() < 1e-6
    drawn = evidence(model, picture, other)
    assert len(drawn) >= min(size, SMALL) and drawn.shape[0] % size == 0
    assert drawn[len(drawn) // 8, len(drawn) // 8, 0] > 185
    assert abs(int(drawn[-3, -3, 0]) - (0.15 * 100 + 0.85 * GRAY)) < 3


def test_gray_where_nothing_is_lost() -> None:
    square = np.zeros((1, 28, 28), np.uint8)
    square[0, :14] = 255
    some = np.zeros((CELLS, CELLS))
    some[0, 0] = 0.5
    drawn = shaded(square, some)
    assert drawn.shape == (224, 224, 3)
    assert drawn[2, 2, 0] > 245 and abs(int(drawn[200, 200, 0]) - 0.85 * GRAY) < 3
    # Parts that take next to nothing are all gray, and so are those that speak against it.
    for little in (np.zeros((CELLS, CELLS)), np.full((CELLS, CELLS), -0.3)):
        assert shaded(square, little)[2, 2, 0] == pytest.approx(0.15 * 255 + 0.85 * GRAY, abs=1)
