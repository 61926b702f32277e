"""Decode uploaded files to pixels; report each unreadable file without failing the others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException, UploadFile
from numpy.typing import NDArray
from PIL import Image

from steradian.data.decode import opened
from steradian.data.model_input import Pixels, draft, pixels_of
from steradian.data.preprocessing import Preprocessing, Take
from steradian.errors import DataError
from steradian.finding.alone import Box, region_at
from steradian.finding.alone import alone as cut_alone
from steradian.finding.regions import Quality, Region
from steradian.service.answers import Failure
from steradian.service.limits import Limits, PixelBudget

MOST_REGIONS = 100
"""Most regions of a picture that are answered."""

LONGEST = 200
"""Maximum characters of a file name in an answer."""


@dataclass(frozen=True)
class Upload:
    """One file as uploaded."""

    name: str
    content: bytes


Seen = tuple[Region, Quality]


@dataclass(frozen=True)
class Decoded:
    """What can be embedded of the uploads, and the unreadable ones.

    Attributes:
        names: of the upload of each square [N].
        pixels: uint8 [N, channels, size, size]: one square an upload, or one for each region that was found.
        regions: where each square was in its picture, and how well it can be seen; None for whole pictures.
        uploads: number of the upload of each square.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    failures: tuple[Failure, ...]
    regions: tuple[Seen | None, ...] = ()
    uploads: tuple[int, ...] = ()


async def read(files: Sequence[UploadFile], limits: Limits) -> list[Upload]:
    """Read the content of ``files``. Raises `HTTPException` if there are too many."""
    if len(files) > limits.files:
        raise HTTPException(413, f"{len(files)} files came; at most {limits.files} are allowed per request.")
    return [
        Upload(_shown_name(file.filename) or f"image {index}", await file.read())
        for index, file in enumerate(files, start=1)
    ]


def _shown_name(name: str | None) -> str:
    return (name or "")[:LONGEST].encode("utf-8", "backslashreplace").decode()


def decoded(
    uploads: Sequence[Upload],
    preprocessing: Preprocessing,
    limits: Limits,
    budget: PixelBudget,
    given_up: Callable[[], bool],
    take: Take = "only",
) -> Decoded:
    """Decode ``uploads`` one after another within the ``budget``, until ``given_up`` returns True.

    ``take``: of a model with a finder, the regions of a picture that are meant.
    """
    names, squares, failures, regions, numbers = [], [], [], [], []
    for number, upload in enumerate(uploads):
        if given_up():
            break
        try:
            with _pixels(upload.content, preprocessing, limits, budget) as pixels:
                found = _squares(preprocessing, pixels, take)
            for region, square in found:
                squares.append(square)
                regions.append(region)
                names.append(upload.name)
                numbers.append(number)
        except DataError as error:
            failures.append(Failure(image=upload.name, reason=str(error)))
    shape = (0, preprocessing.channels, preprocessing.size, preprocessing.size)
    batch = np.stack(squares) if squares else np.zeros(shape, np.uint8)
    return Decoded(tuple(names), batch, tuple(failures), tuple(regions), tuple(numbers))


@contextlib.contextmanager
def _pixels(content: bytes, preprocessing: Preprocessing, limits: Limits, budget: PixelBudget) -> Iterator[Pixels]:
    """Decode a picture, and keep its share of the budget while it is looked at. Raises `DataError`."""
    with opened(content, limits.pixels) as image:
        draft(image, 2 * preprocessing.shortest, 2 * preprocessing.shortest)
        with budget.of(_cost(image, content, limits)):
            pixels = pixels_of(image)
            # Before squares are made, which takes as much memory again.
            image.close()
            yield pixels


def _squares(preprocessing: Preprocessing, pixels: Pixels, take: Take) -> list[tuple[Seen | None, NDArray[np.uint8]]]:
    """Return each region of a picture, None for the whole of it, and its square. Raises `DataError`."""
    if not preprocessing.finds:
        return [(None, preprocessing.square(pixels))]
    found = preprocessing.cut_out(pixels, take)
    if len(found) > MOST_REGIONS:
        raise DataError(f"{len(found)} regions were found in it; at most {MOST_REGIONS} are answered")
    return [((region, quality), square) for region, quality, square in found]


def alone(upload: Upload, box: Box, preprocessing: Preprocessing, limits: Limits, budget: PixelBudget) -> Upload:
    """Return the part of a picture that shows the region at ``box``, see `finding.alone`, as a PNG.

    Raises:
        DataError: the picture cannot be read, or has no region there.
    """
    with _pixels(upload.content, preprocessing, limits, budget) as pixels:
        part = cut_alone(pixels, region_at(preprocessing.regions(pixels), box), preprocessing.finder)
    buffer = io.BytesIO()
    Image.fromarray(part).save(buffer, "PNG")
    return Upload(upload.name, buffer.getvalue())


COSTS = {"JPEG2000": 2, "WEBP": 2, "AVIF": 2}
"""What a pixel of a format takes to decode, in memory of those of others."""

SLOW = frozenset({"qoi", "ppm", "ppm_plain", "dds_rgb"})
"""Decoders that are written in Python, and take seconds for a large image."""

TILE_WIDTH, TILE_LENGTH = 322, 323
"""Tags of a TIFF file, whose tiles may be larger than the image."""


def _cost(image: Image.Image, content: bytes, limits: Limits) -> int:
    """Return the pixels in memory of which decoding takes what this image takes. Raises `DataError` over a limit."""
    kind, tags = image.format or "", getattr(image, "tag_v2", {})
    sides = [(image.width, image.height)]
    if TILE_WIDTH in tags and TILE_LENGTH in tags:
        sides.append((int(tags[TILE_WIDTH]), int(tags[TILE_LENGTH])))
    cost = max(width * height for width, height in sides) * COSTS.get(kind, 1)
    if cost > limits.pixels:
        raise DataError(f"its {image.width} x {image.height} pixels in {kind} take more memory than is allowed here")
    tiles = getattr(image, "tile", None)
    decoder = tiles[0][0] if tiles else ""
    if decoder in SLOW and image.width * image.height > limits.slow_pixels:
        raise DataError(f"it has over {limits.slow_pixels:,} pixels in {kind}, which is slow to decode: send a JPEG")
    # Inside the data of a scan, this pair of bytes does not occur.
    scans = content.count(b"\xff\xda") if kind == "JPEG" else 0
    if scans > limits.scans:
        raise DataError(f"it is a JPEG of {scans:,} scans, over the limit of {limits.scans}")
    return cost
