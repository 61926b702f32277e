"""Cut one region of a picture out with room around it, so that it can be kept alone and found again in what is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from steradian.errors import DataError
from steradian.finding.finders import Finder, NothingFoundError, find
from steradian.finding.regions import Pixels, Region, most_prominent

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""

LEAST_OVERLAP = 0.5
"""Two boxes with this intersection over union are of one thing."""

LEAST_OVERLAP_AGAIN = 0.65
"""Two boxes with this intersection over union are the same region, found again in a part of its picture."""

ROOMS = (0.5, 0.25, 0.0, 1.0, 2.0)
"""Room on each side of a region that is tried, as a share of its longer side; finders need some to see it again."""

LONGEST = 400
"""Pixels that the longer side of a region keeps: more than any encoder looks at."""


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum(max(right - left, 0.0) * max(bottom - top, 0.0) for left, top, right, bottom in (first, second))
    return shared / (areas - shared) if areas > shared else 0.0


def region_at(regions: Sequence[Region], box: Box) -> Region:
    """Return the region of a picture that ``box`` is around. Raises `NothingFoundError` if none of them is."""
    best = max(regions, key=lambda region: overlap(region.box, box), default=None)
    if best is None or overlap(best.box, box) < LEAST_OVERLAP:
        edges = ", ".join(f"{edge:g}" for edge in box)
        raise NothingFoundError(f"of the {len(regions)} regions in it none is at {edges}")
    return best


def alone(pixels: Pixels, region: Region, by: str | Finder) -> Pixels:
    """Return a part of ``pixels`` that shows ``region`` with at most `LONGEST` pixels on its longer side.

    It is one in which the finder sees nothing else, or if there is none, one in which the region stands out most.

    Raises:
        DataError: there is neither.
    """
    second: Pixels | None = None
    for room in ROOMS:
        part, box = _part(pixels, region, room)
        found = find(part, by)
        height, width = part.shape[:2]
        if found and overlap(most_prominent(found, width, height).box, box) >= LEAST_OVERLAP_AGAIN:
            if len(found) == 1:
                return part
            second = part if second is None else second
    if second is None:
        raise DataError("the region is not found again in a part of the picture: cut the picture to it yourself")
    return second


def _part(pixels: Pixels, region: Region, room: float) -> tuple[Pixels, Box]:
    """Return the region with ``room`` around it, and its box in this part."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = region.box
    extra = room * region.side
    x, y = max(0, round(left - extra)), max(0, round(top - extra))
    part = pixels[y : min(height, round(bottom + extra)), x : min(width, round(right + extra))]
    factor = min(1.0, LONGEST / region.side)
    if factor < 1.0:
        size = max(1, round(factor * part.shape[1])), max(1, round(factor * part.shape[0]))
        part = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    return part, (factor * (left - x), factor * (top - y), factor * (right - x), factor * (bottom - y))
