"""Plot the regions of pictures: a numbered box around each, and its points."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from steradian.plots.theme import LIGHT, Display, Theme, own_axes, short_name

WIDTH, LONGEST = 8.0, 900
"""Inches of a picture, and most pixels of its longer side."""

GAP, CAPTION = 0.03, 0.06


@dataclass(frozen=True)
class Marked:
    """One picture with what is drawn on it.

    Attributes:
        pixels: uint8 [H, W] or [H, W, 3].
        boxes: left, top, right, bottom of each region, in its pixels.
        labels: the text at each box.
        points: [P, 2] of each region, or None.
        caption: the line above.
    """

    pixels: NDArray[np.uint8]
    boxes: Sequence[tuple[float, float, float, float]]
    labels: Sequence[str]
    points: Sequence[NDArray[np.float64] | None]
    caption: str


@dataclass
class RegionsDisplay(Display):
    """Pictures below each other, one unit wide.

    Attributes:
        pictures: the pictures, at most `LONGEST` pixels on a side.
    """

    pictures: tuple[Marked, ...]

    @classmethod
    def from_pictures(cls, pictures: Sequence[Marked]) -> RegionsDisplay:
        """Create from pictures of any size, which are scaled down with what is on them."""
        return cls(tuple(_smaller(picture) for picture in pictures))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> RegionsDisplay:
        """Draw the pictures below each other."""
        heights = [CAPTION + _height(picture) + GAP for picture in self.pictures]
        axes = own_axes(ax, theme, WIDTH, WIDTH * sum(heights))
        y = 0.0
        for picture, height in zip(self.pictures, heights, strict=True):
            axes.text(0, y + CAPTION - 0.01, short_name(picture.caption, 90), color=theme.ink, fontsize=9, va="bottom")
            self._draw(axes, picture, y + CAPTION, theme)
            y += height
        axes.set(xlim=(0, 1), ylim=(y, 0))
        axes.set_axis_off()
        return self._drawn_on(axes)

    def _draw(self, axes: Axes, picture: Marked, top: float, theme: Theme) -> None:
        height, width = picture.pixels.shape[:2]
        extent = (0.0, 1.0, top + height / width, top)
        axes.imshow(picture.pixels, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
        for number, (box, label) in enumerate(zip(picture.boxes, picture.labels, strict=True)):
            left, upper, right, lower = (value / width for value in box)
            color = theme.color(number)
            frame = Rectangle(
                (left, top + upper), right - left, lower - upper, fill=False, edgecolor=color, linewidth=2
            )
            axes.add_patch(frame)
            axes.text(
                left, top + upper, label, color=_readable_on(color), fontsize=9, va="bottom", clip_on=True,
                parse_math=False, bbox={"facecolor": color, "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
            points = picture.points[number]
            if points is not None:
                axes.plot(points[:, 0] / width, top + points[:, 1] / width, "o", color=color, ms=2.5)


def drawn(pictures: Sequence[Marked]) -> bytes:
    """Return the pictures with their regions below each other, as a PNG."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The font may lack the script of a name, and draws boxes; the answer has the name as text.
        warnings.filterwarnings("ignore", message="Glyph")
        RegionsDisplay.from_pictures(pictures).plot().figure_.figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _readable_on(color: tuple[float, float, float]) -> str:
    """Return black or white, whichever differs more from a color (relative luminance of WCAG 2, without gamma)."""
    red, green, blue = color
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "white"


def _height(picture: Marked) -> float:
    height, width = picture.pixels.shape[:2]
    return float(height / width)


def _smaller(picture: Marked) -> Marked:
    factor = LONGEST / max(picture.pixels.shape[:2])
    if factor >= 1.0:
        return picture
    height, width = (max(1, round(factor * side)) for side in picture.pixels.shape[:2])
    small = Image.fromarray(picture.pixels).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    boxes = [(factor * left, factor * top, factor * right, factor * lower) for left, top, right, lower in picture.boxes]
    points = [None if one is None else factor * one for one in picture.points]
    return Marked(np.asarray(small), boxes, picture.labels, points, picture.caption)
