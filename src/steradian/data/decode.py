"""Decode image files to 8-bit gray or RGB pixels, upright and opaque."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from steradian.data.model_input import Pixels, draft, pixels_of
from steradian.errors import DataError
from steradian.extras import install

Content = Path | bytes | Pixels
"""An image as it is stored: a file, the bytes of one, or pixels."""

# Pillow warns about odd metadata and large sizes. `decode` raises an error where it matters. The filter is global,
# because a filter around each call would not be thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "DIB", "JPEG2000", "TGA", "PCX", "QOI"),
    *("DDS", "ICNS", "ICO", "PSD", "SGI"),
    # Pillow 11.3 was the first to read it.
    *(("AVIF",) if importlib.util.find_spec("PIL.AvifImagePlugin") else ()),
)
"""Formats that are opened, whatever the file name says. Others, such as EPS, would start external programs."""

MAX_PIXELS = 150_000_000
"""An image that claims more than this many pixels is refused before it is decoded."""

HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
"""Kinds of pictures of phones that are read by a package of their own."""


def decode(source: Content, shortest: int | None = None, most_pixels: int | None = None) -> Pixels:
    """Decode an image file to uint8 [H, W] (gray) or [H, W, 3] (RGB).

    The first frame of an animation is used, EXIF orientation is applied, transparency is blended with white,
    16-bit samples (0 to 65,535) and floats (0 to 1) are scaled to 8 bits, CMYK and palettes become RGB.

    Args:
        source: a path, or the file's content; pixels are returned as they are.
        shortest: a JPEG may be decoded at a reduced size if its shorter side is still at least this long.
        most_pixels: an image that claims more pixels is refused before it is decoded; None: `MAX_PIXELS`.

    Raises:
        DataError: the content is not an image, is damaged or truncated, or claims more than ``most_pixels``.
    """
    if isinstance(source, np.ndarray):
        return source
    with opened(source, most_pixels) as image:
        if shortest is not None:
            draft(image, 2 * shortest, 2 * shortest)
        return pixels_of(image)


@contextlib.contextmanager
def opened(source: Content, most_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open an image whose pixels are decoded when they are needed. Raises as `decode` does, also inside the block."""
    if isinstance(source, np.ndarray):
        yield Image.fromarray(source)
        return
    limit = MAX_PIXELS if most_pixels is None else most_pixels
    try:
        with _opened(source) as image:
            if image.width * image.height > limit:
                raise DataError(f"it claims {image.width} x {image.height} pixels, over the limit of {limit:,}")
            image.seek(0)
            yield image
    except DataError:
        raise
    except FileNotFoundError as e:
        raise DataError("it does not exist") from e
    except UnidentifiedImageError as e:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        raise DataError("it is empty" if size == 0 else "it is not a readable image") from e
    except Exception as e:
        raise DataError(str(e).split(" <")[0] or type(e).__name__) from e


def _opened(source: Path | bytes) -> Image.Image:
    """Open an image lazily. Raises `DataError` for HEIC where nothing reads it, and what Pillow raises."""
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError:
        if isinstance(source, bytes):
            head = source[:12]
        else:
            with source.open("rb") as file:
                head = file.read(12)
        if head[4:8] != b"ftyp" or head[8:12] not in HEIC_BRANDS:
            raise
    if not _register_heic():
        raise DataError(f"it is a HEIC picture, which needs: {install('heic')}")
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=("HEIF",))


@functools.cache
def _register_heic() -> bool:
    """Let Pillow read HEIC; return whether the package for it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
