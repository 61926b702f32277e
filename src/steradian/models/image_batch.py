"""Convert images of any kind to the square pixel arrays that a model takes. Does not import torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steradian.data.decode import decode
from steradian.data.image_files import image_files
from steradian.data.model_input import Pixels, pixels_of
from steradian.data.preprocessing import Preprocessing
from steradian.errors import DataError, InputError
from steradian.models.image_arrays import is_array, pictures_in, pixels_of_array

if TYPE_CHECKING:
    import torch

Picture = Union[str, Path, Image.Image, NDArray[Any], "torch.Tensor"]
Pictures = Picture | Sequence[Picture]
"""One image or many: paths of files or folders, PIL images, arrays [H, W] or [H, W, 3], tensors [3, H, W], or batches
of them; uint8 pixels or floats in [0, 1] (see `image_arrays`)."""

EXPECTED = "Images are paths of files or folders, PIL images, arrays [H, W] or [H, W, 3], or tensors [3, H, W]."

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


def pictures_of(images: Any) -> list[Any]:
    """Return images one by one: those of a folder, of a batch, of a sequence, or a single one.

    Raises:
        UsageError: a path does not exist, or a folder holds no images.
        InputError: something that is no image, or an array that may be one or several.
    """
    if isinstance(images, str | Path):
        found = image_files([Path(images)])
        for note in found.notes:
            warnings.warn(note, stacklevel=3)
        return list(found.files)
    if isinstance(images, Image.Image):
        return [images]
    if is_array(images):
        return pictures_in(images)
    if isinstance(images, bytes | bytearray) or not isinstance(images, Iterable):
        raise InputError(f"expected images, but got a {type(images).__name__}. {EXPECTED}")
    pictures: list[Any] = []
    for index, image in enumerate(images):
        if not (isinstance(image, str | Path | Image.Image) or is_array(image)):
            raise InputError(f"image {index} is a {type(image).__name__}. {EXPECTED}")
        several = pictures_of(image)
        if is_array(image) and len(several) != 1:
            raise InputError(f"image {index} is an array of shape {list(image.shape)}, which is {len(several)} images.")
        pictures += several
    return pictures


def square_batch(images: Pictures, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the images as square pixels, uint8 [N, channels, size, size].

    Raises:
        DataError: a damaged image.
        UsageError: a path does not exist.
        InputError: something that is no image.
    """
    squares = []
    for index, image in enumerate(pictures_of(images)):
        if isinstance(image, Image.Image):
            try:
                pixels = pixels_of(image)
            except (OSError, ValueError) as error:
                raise DataError(f"image {index} cannot be read: {error}.") from error
        elif isinstance(image, str | Path):
            pixels = decode_file(Path(image), preprocessing)
        else:
            pixels = pixels_of_array(image)
        try:
            squares.append(preprocessing.square(pixels))
        except DataError as error:
            name = str(image) if isinstance(image, str | Path) else f"image {index}"
            raise DataError(f"{name}: {error}.") from error
    if not squares:
        return np.zeros((0, preprocessing.channels, preprocessing.size, preprocessing.size), dtype=np.uint8)
    return np.stack(squares)
