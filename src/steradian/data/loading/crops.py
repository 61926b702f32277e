"""Cut random crops out of original photographs, decoded no larger than the crop needs."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from steradian.data.decode import Content, opened
from steradian.data.model_input import RESAMPLING, Interpolation, draft, upright

RATIO = (3 / 4, 4 / 3)
"""Widths of a crop by its height, drawn log-uniformly (Szegedy et al. 2015)."""

TRANSPOSED = {5, 6, 7, 8}
"""EXIF orientations that exchange width and height."""

Box = tuple[float, float, float, float]


def drawn_crop(content: Content, size: int, smallest: float) -> tuple[Image.Image, Box]:
    """Decode an image for a random crop; return it upright with the box (left, top, right, bottom) to cut.

    The area of the box is uniform in [``smallest``, 1] of the picture, as in torchvision's ``RandomResizedCrop``, and
    drawn by torch's global generator. A JPEG is decoded at the smallest of its scales (1, 1/2, 1/4, 1/8) at which the
    box still has ``size`` pixels.

    Raises:
        DataError: see `decode.decode`.
    """
    from torchvision.transforms import RandomResizedCrop

    with opened(content) as image:
        exchanged = image.getexif().get(0x0112) in TRANSPOSED
        width, height = image.size[::-1] if exchanged else image.size
        outline = torch.empty((1, height, width), device="meta")
        top, left, rows, columns = RandomResizedCrop.get_params(outline, [smallest, 1.0], list(RATIO))
        factor = min(rows, columns) / size
        if factor > 1.0:
            draft(image, math.ceil(image.width / factor), math.ceil(image.height / factor))
        picture = upright(image)
    across, down = picture.width / width, picture.height / height
    return picture, (left * across, top * down, (left + columns) * across, (top + rows) * down)


def cut(picture: Image.Image, box: Box, size: int, channels: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """Return the ``box`` of a decoded picture as uint8 [channels, size, size]."""
    mode = "L" if channels == 1 else "RGB"
    image = picture if picture.mode == mode else picture.convert(mode)
    image = image.resize((size, size), RESAMPLING[interpolation], box=box)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)
