"""Which parts of a picture its similarity to another rests on: cover one after the other, and compare again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steradian.data.model_input import Pixels
from steradian.models.embedder import Embedder

CELLS = 8
"""Cells a side of the map."""

WINDOW = 2
"""Cells a side of what is covered at a time."""

PLACES = tuple((top, left) for top in range(CELLS - WINDOW + 1) for left in range(CELLS - WINDOW + 1))
"""First row and column of cells of each covered window."""

LOOKS = len(PLACES) + 1
"""Embeddings that a map takes."""

GRAY = 128
"""What a part turns into on which nothing rests: it differs from light and from dark pictures."""

LEAST_SHOWN, CONTRAST = 0.15, 0.7
"""How much of such a part is left, and the power of the share of the most important part that the others are."""

SMALLEST = 0.02
"""A part that takes less of the cosine counts as nothing, however little the others take."""

SMALL = 224
"""Smaller pictures are enlarged, so that the shades are smooth."""


def covered(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``square`` [channels, size, size], then with each of `PLACES` in its median color, [LOOKS, ...]."""
    edges = np.linspace(0, square.shape[1], CELLS + 1).round().astype(int)
    color = np.median(square, axis=(1, 2), keepdims=True).astype(np.uint8)
    pictures = np.repeat(square[None], LOOKS, axis=0)
    for picture, (top, left) in zip(pictures[1:], PLACES, strict=True):
        picture[:, edges[top] : edges[top + WINDOW], edges[left] : edges[left + WINDOW]] = color
    return pictures


def lost(vectors: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how much of the cosine to ``other`` [D] is lost where a part is covered, [CELLS, CELLS].

    Formula: a cell gets the mean of cos(picture, other) - cos(covered picture, other) over the windows that cover it
    (occlusion, Zeiler and Fergus 2014). Positive where the two pictures have something in common, negative where the
    part speaks against it.

    Args:
        vectors: unit embeddings [LOOKS, D] of `covered` pictures.
    """
    cosines = vectors.astype(np.float64) @ np.asarray(other, dtype=np.float64)
    total, windows = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (top, left), cosine in zip(PLACES, cosines[1:], strict=True):
        total[top : top + WINDOW, left : left + WINDOW] += cosines[0] - cosine
        windows[top : top + WINDOW, left : left + WINDOW] += 1.0
    return total / windows


def evidence(model: Embedder, picture: Pixels, other: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the square that the model sees of ``picture``, `shaded` by what its cosine to ``other`` [D] rests on."""
    square = model.preprocessing.prominent_square(picture)
    return shaded(square, lost(model.embed_squares(covered(square)), other))


def shaded(square: NDArray[np.uint8], lost: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return a square [channels, size, size] as uint8 [size, size, 3], gray where nothing is ``lost``.

    A square of less than `SMALL` pixels a side is enlarged by a whole factor.
    """
    factor = max(1, SMALL // square.shape[1])
    picture = np.broadcast_to(square.transpose(1, 2, 0), (*square.shape[1:], 3)).repeat(factor, 0).repeat(factor, 1)
    share = (np.clip(lost, 0.0, None) / max(float(lost.max()), SMALLEST)) ** CONTRAST
    smooth = Image.fromarray(share.astype(np.float32)).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    kept = LEAST_SHOWN + (1.0 - LEAST_SHOWN) * np.clip(np.asarray(smooth), 0.0, 1.0)[..., None]
    return np.asarray(np.round(picture * kept + GRAY * (1.0 - kept)), dtype=np.uint8)
