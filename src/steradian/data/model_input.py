"""Turn an image file into the input of a model: upright, opaque, 8 bits, its center square.

This file needs Pillow and numpy alone, so that an exported model has a copy of it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]
"""[H, W] gray or [H, W, 3] RGB."""

Interpolation = Literal["bilinear", "bicubic"]
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

WHITE = 65535
"""The lightest value of samples of 16 bits."""

BRIGHTEST_FLOAT = 2.0
"""Floats above this are not of 0 to 1, also where an edge was made brighter than white."""

BITS_PER_SAMPLE = 258
"""The tag of a TIFF file that says how many bits its samples have."""

STRIP = 2**22
"""Pixels from which on an image is converted in strips of this size."""


def samples(path: str | Path, model_input: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the samples of an image file for an exported model, float32 [1, channels, size, size] in [0, 1].

    Args:
        model_input: the part ``input`` of the model's ``description.json``.
    """
    size, crop = int(model_input["size"]), float(model_input["crop"])
    with Image.open(path) as image:
        shortest = math.ceil(size / crop)
        draft(image, 2 * shortest, 2 * shortest)
        pixels = pixels_of(image)
    central = square(pixels, size, int(model_input["channels"]), crop, model_input["interpolation"])
    return np.asarray(central[None] / np.float32(255.0), dtype=np.float32)


def draft(image: Image.Image, width: int, height: int) -> None:
    """Let an opened JPEG be decoded at the smallest of its scales that has at least ``width`` x ``height`` pixels."""
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        image.draft(image.mode, (width, height))


def pixels_of(image: Image.Image) -> Pixels:
    """Return the pixels of an opened image, upright, opaque and 8-bit (see `decode`)."""
    rotated(image)
    white = _white(image)
    if image.width * image.height <= STRIP:
        return np.asarray(opaque(image, white))
    # Conversions make several copies, so that of a large image one strip at a time is converted.
    rows = max(1, STRIP // image.width)
    strips = (
        np.asarray(opaque(image.crop((0, top, image.width, min(top + rows, image.height))), white))
        for top in range(0, image.height, rows)
    )
    first = next(strips)
    pixels = np.empty((image.height, *first.shape[1:]), dtype=np.uint8)
    pixels[: len(first)] = first
    for number, strip in enumerate(strips, start=1):
        pixels[number * rows :][: len(strip)] = strip
    return pixels


def upright(image: Image.Image) -> Image.Image:
    """Return an opened image decoded, upright, opaque, and in mode L or RGB (see `decode`)."""
    rotated(image)
    return opaque(image, _white(image))


def rotated(image: Image.Image) -> None:
    """Decode an opened image and turn it upright."""
    image.load()
    # Damaged EXIF data in an intact image may raise any exception.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def opaque(image: Image.Image, white: int = WHITE) -> Image.Image:
    """Return a decoded image in mode L or RGB, blended with white; ``white``: the lightest value of deep samples."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        # Converted to its own mode, it would be copied.
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        samples = np.asarray(image)
        pixels = _to_8_bits(samples, white)
        clear = image.info.get("transparency")
        return Image.fromarray(np.where(samples == clear, np.uint8(255), pixels) if isinstance(clear, int) else pixels)
    if image.mode in ("1", "L"):
        clear = image.info.get("transparency")
        gray = image.convert("L")
        if isinstance(clear, int):
            gray = gray.point([255 if level == clear else level for level in range(256)])
        return gray
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _white(image: Image.Image) -> int:
    """Return the lightest value of samples with more than 8 bits, by the bits that a TIFF file says it has."""
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return 2 ** int(bits[0]) - 1 if image.mode.startswith("I;16") and bits and 8 < int(bits[0]) < 16 else WHITE


def _to_8_bits(samples: NDArray[Any], white: int = WHITE) -> Pixels:
    """Convert samples to 8 bits, each kind by one scale: integers * 255 / ``white``, floats * 255.

    A scale that depended on the picture would make a darker one of two pictures the brighter one.
    """
    if not np.issubdtype(samples.dtype, np.floating):
        # uint32 takes half the memory of float64, which matters for large images.
        integers = np.clip(samples, 0, white).astype(np.uint32)
        return np.asarray((255 * integers + white // 2) // white, dtype=np.uint8)
    values = np.nan_to_num(samples.astype(np.float32))
    if values.size and values.max() > BRIGHTEST_FLOAT:
        raise ValueError(f"its samples are floats up to {values.max():g}, but floats must be from 0 to 1")
    values *= 255.0
    return np.asarray(values.round().clip(0, 255), dtype=np.uint8)


def square(
    pixels: Pixels, size: int, channels: int, crop: float = 1.0, interpolation: Interpolation = "bilinear"
) -> NDArray[np.uint8]:
    """Scale decoded pixels [H, W] or [H, W, 3] and cut the center square: uint8 [channels, size, size]."""
    image, mode = Image.fromarray(pixels), "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (size, size) or crop < 1.0:
        side = crop * min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize((size, size), RESAMPLING[interpolation], box=(left, top, left + side, top + side))
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)
