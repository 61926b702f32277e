"""Any image file -> 8-bit gray or RGB pixels, upright and opaque."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from steradian.errors import DataError

Pixels = NDArray[np.uint8]
"""[H, W] gray or [H, W, 3] RGB."""

# Pillow warns about odd metadata and large sizes. `decode` raises where it matters, and a filter set around
# each call would not be safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, whatever a file calls itself. Others, such as EPS, would start programs."""

MAX_PIXELS = 150_000_000
"""An image that claims more than this many pixels is refused before it is decoded."""

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File names with these endings are taken for images."""


def decode(source: Path | bytes, shortest: int | None = None, most_pixels: int | None = None) -> Pixels:
    """Decode an image file to uint8 [H, W] (gray) or [H, W, 3] (RGB).

    The first frame of an animation is taken, EXIF orientation is applied, transparency is laid on white,
    16-bit and float samples are scaled to 8 bits, CMYK and palettes become RGB.

    Args:
        source: a path, or the file's content.
        shortest: a JPEG may be decoded at a reduced size whose shorter side is still at least this.
        most_pixels: an image that claims more is refused before it is decoded; None: `MAX_PIXELS`.

    Raises:
        DataError: the content is no image, is damaged or truncated, or claims over ``most_pixels``.
    """
    limit = MAX_PIXELS if most_pixels is None else most_pixels
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > limit:
                raise DataError(f"it claims {image.width} x {image.height} pixels, over the limit of {limit:,}")
            if shortest is not None and image.format == "JPEG" and image.mode in ("L", "RGB"):
                image.draft(image.mode, (2 * shortest, 2 * shortest))
            image.seek(0)
            return pixels_of(image)
    except DataError:
        raise
    except FileNotFoundError as e:
        raise DataError("it does not exist") from e
    except UnidentifiedImageError as e:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        raise DataError("it is empty" if size == 0 else "it is no image that can be read") from e
    except Exception as e:
        raise DataError(str(e).split(" <")[0] or type(e).__name__) from e


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels of an opened image, upright, opaque and 8-bit (see `decode`)."""
    return _pixels(_transposed(image))


def _transposed(image: Image.Image) -> Image.Image:
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - damaged EXIF of an intact picture may raise anything at all
        return image
    return upright if upright is not None else image


def _pixels(image: Image.Image) -> Pixels:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bits(np.asarray(image))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if "A" in image.getbands() or "transparency" in image.info:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(image.convert("RGB"))


def _to_8_bits(samples: NDArray[Any]) -> Pixels:
    """16-bit integers over 257; floats in [0, 1] times 255, other floats taken as 0..255."""
    if not np.issubdtype(samples.dtype, np.floating):
        # In whole numbers, which take half of what float64 would: a large image is large enough.
        whole = np.clip(samples, 0, 65535).astype(np.uint32)
        if whole.max(initial=0) > 255:
            whole = (whole + 128) // 257
        return np.asarray(whole, dtype=np.uint8)
    values = np.nan_to_num(samples.astype(np.float32))
    if float(values.max(initial=0.0)) <= 1.0:
        values *= 255.0
    return np.asarray(values.round().clip(0, 255), dtype=np.uint8)
