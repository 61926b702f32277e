"""A region of a picture, and how well it shows what is in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""[H, W] gray or [H, W, 3] RGB."""

Points = NDArray[np.float64]
"""[P, 2]: x to the right and y down, in pixels; the middle of the first pixel is at 0.5, 0.5."""

SHARPNESS_SIDE = 64
"""Pixels per side at which sharpness is measured, so that it does not depend on the size of the picture."""


@dataclass(frozen=True)
class Region:
    """A part of a picture.

    Attributes:
        box: left, top, right and bottom edge in pixels of the picture; they may lie outside of it.
        score: how sure the finder is, larger is surer; 1 where it does not look at the picture.
        points: marks inside, such as the corners of the eyes, [P, 2]; None for a finder that knows none.
        turned: quarter turns to the left after which the finder saw it upright, 0 to 3.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    points: Points | None = None
    turned: int = 0

    @property
    def side(self) -> float:
        """The longer side of the box, in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def inside(self, width: int, height: int) -> float:
        """Return the share of the box that lies in a picture of ``width`` x ``height`` pixels."""
        left, top, right, bottom = self.box
        area = max(right - left, 0.0) * max(bottom - top, 0.0)
        seen = max(min(right, width) - max(left, 0.0), 0.0) * max(min(bottom, height) - max(top, 0.0), 0.0)
        return seen / area if area > 0.0 else 0.0


def most_prominent(regions: Sequence[Region], width: int, height: int) -> Region:
    """Return the region that a picture of ``width`` x ``height`` pixels is most likely of: a large one near its middle.

    It is the one with the largest area less twice the squared distance of its center from the middle (the rule by
    which Schroff et al.'s FaceNet was reproduced on the faces of LFW).
    """

    def prominence(region: Region) -> float:
        left, top, right, bottom = region.box
        across, down = (left + right - width) / 2.0, (top + bottom - height) / 2.0
        return (right - left) * (bottom - top) - 2.0 * (across**2 + down**2)

    return max(regions, key=prominence)


@dataclass(frozen=True)
class Quality:
    """What speaks for and against an answer about a region, before anything is recognized.

    Attributes:
        side: pixels of its longer side in the original picture.
        sharpness: standard deviation of the Laplacian of the cut-out region at `SHARPNESS_SIDE` pixels, with samples in
            [0, 1] and their standard deviation as unit: blur lowers it, contrast does not matter.
        inside: share of the region that lies in the picture.
        score: of the finder.
    """

    side: float
    sharpness: float
    inside: float
    score: float

    @classmethod
    def of(cls, region: Region, square: NDArray[np.uint8], picture: Pixels) -> Quality:
        """Measure a region of ``picture`` that was cut out as ``square``, [size, size] or [size, size, 3]."""
        height, width = picture.shape[:2]
        return cls(region.side, sharpness(square), region.inside(width, height), region.score)

    def as_answer(self) -> dict[str, Any]:
        """Return plain values, rounded."""
        return {name: round(getattr(self, name), 3) for name in ("side", "sharpness", "inside", "score")}


def region_answer(region: Region, quality: Quality) -> dict[str, Any]:
    """Return plain values: {box, points, turned, quality}, in pixels, rounded."""
    points = None if region.points is None else region.points.round(1).tolist()
    box = [round(edge, 1) for edge in region.box]
    return {"box": box, "points": points, "turned": region.turned, "quality": quality.as_answer()}


def sharpness(square: NDArray[np.uint8]) -> float:
    """Return how sharp an image [H, W] or [H, W, 3] is, see `Quality`; 0 for one of a single color."""
    gray = Image.fromarray(square).convert("L").resize((SHARPNESS_SIDE, SHARPNESS_SIDE), Image.Resampling.BOX)
    samples = np.asarray(gray, dtype=np.float64) / 255.0
    spread = float(samples.std())
    if math.isclose(spread, 0.0, abs_tol=1e-9):
        return 0.0
    inner = samples[1:-1, 1:-1]
    laplacian = samples[:-2, 1:-1] + samples[2:, 1:-1] + samples[1:-1, :-2] + samples[1:-1, 2:] - 4.0 * inner
    return float(laplacian.std()) / spread
