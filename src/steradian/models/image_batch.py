"""Convert images of any kind to the square pixel arrays that a model takes. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steradian.data.decode import Pixels, decode, pixels_of
from steradian.data.preprocessing import Preprocessing
from steradian.errors import DataError, InputError

Pictures = Sequence["str | Path | Image.Image | NDArray[Any]"]
"""Paths, PIL images or decoded uint8 arrays [H, W] or [H, W, 3]."""

PIXELS_AT_ONCE = 4 * 224 * 224
"""Pixels in one pass on a CPU: the maps of larger batches leave its caches, and take 2 to 10 times as long."""


def images_at_once(size: int) -> int:
    """Return how many images of ``size`` pixels wide and high a CPU encodes in one pass."""
    return min(256, max(1, PIXELS_AT_ONCE // size**2))


def decode_file(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Decode an image file for a model, uint8 [H, W] or [H, W, 3]. Raises `DataError` naming the file."""
    try:
        return decode(path, preprocessing.shortest)
    except DataError as error:
        raise DataError(f"{path} cannot be decoded: {error}.") from error


def square_batch(images: Pictures, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the images as square pixels, uint8 [N, channels, size, size]. Raises `DataError` for a damaged one."""
    if isinstance(images, str | Path):
        raise InputError(f"expected a list of images, but got a single path: use [{str(images)!r}].")
    squares = []
    for index, image in enumerate(images):
        if isinstance(image, Image.Image):
            pixels = pixels_of(image)
        elif isinstance(image, str | Path):
            pixels = decode_file(Path(image), preprocessing)
        elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
            pixels = image
        else:
            raise InputError(
                f"image {index} is a {type(image).__name__}; expected a path, a PIL image or a uint8 array "
                "[H, W] or [H, W, 3]."
            )
        squares.append(preprocessing.square(pixels))
    if not squares:
        return np.zeros((0, preprocessing.channels, preprocessing.size, preprocessing.size), dtype=np.uint8)
    return np.stack(squares)
