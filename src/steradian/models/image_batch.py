"""Convert images of any kind to the square pixel arrays that a model takes. Does not import torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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

if TYPE_CHECKING:
    import torch

Picture = Union[str, Path, Image.Image, NDArray[Any], "torch.Tensor"]
Pictures = Picture | Sequence[Picture]
"""One image or many: paths of files or folders, PIL images, uint8 arrays [H, W] or [H, W, 3], or [N, H, W, 3] at once;
tensors [3, H, W] of uint8 pixels or floats in [0, 1]."""

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
    """Return images one by one: those of a folder, of a batch [N, H, W, 3], of a sequence, or a single one.

    Raises:
        UsageError: a path does not exist, or a folder holds no images.
    """
    if isinstance(images, str | Path):
        found = image_files([Path(images)])
        for note in found.notes:
            warnings.warn(note, stacklevel=3)
        return list(found.files)
    if isinstance(images, Image.Image) or (_is_array(images) and _is_one(images)):
        return [images]
    pictures: list[Any] = []
    for image in images:
        pictures += pictures_of(image) if isinstance(image, str | Path) else [image]
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
            pixels = pixels_of(image)
        elif isinstance(image, str | Path):
            pixels = decode_file(Path(image), preprocessing)
        elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
            pixels = image
        elif _is_tensor(image) and image.ndim == 3:
            pixels = _pixels_of_tensor(image)
        else:
            raise InputError(
                f"image {index} is a {type(image).__name__}; expected a path, a PIL image, a uint8 array "
                "[H, W] or [H, W, 3], or a tensor [3, H, W]."
            )
        squares.append(preprocessing.square(pixels))
    if not squares:
        return np.zeros((0, preprocessing.channels, preprocessing.size, preprocessing.size), dtype=np.uint8)
    return np.stack(squares)


def _is_tensor(image: Any) -> bool:
    # Without importing torch, which an exported model does not need.
    return type(image).__module__.partition(".")[0] == "torch"


def _is_array(image: Any) -> bool:
    return isinstance(image, np.ndarray) or _is_tensor(image)


def _is_one(image: Any) -> bool:
    """Return whether an array is one image: [H, W], [H, W, 3], or a tensor [1 or 3, H, W]."""
    if image.ndim == 2:
        return True
    return bool(image.ndim == 3 and (image.shape[0] in (1, 3) if _is_tensor(image) else image.shape[2] in (1, 3)))


def _pixels_of_tensor(image: Any) -> Pixels:
    array = image.detach().cpu().numpy()
    if array.dtype != np.uint8:
        array = (255.0 * array.astype(np.float32)).round().clip(0, 255).astype(np.uint8)
    pixels: Pixels = array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
    return pixels
