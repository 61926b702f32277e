"""Plot what answers rest on: pairs of pictures, clear where they have something in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian.plots.theme import LIGHT, Display, Theme, draw_image, own_axes, short_name

GAP, CAPTION = 0.06, 0.2


@dataclass
class EvidenceDisplay(Display):
    """One row an answer: the picture that was asked and the enrolled one, gray where nothing rests on them.

    Attributes:
        rows: pictures uint8 [size, size, 3] of each row, the asked one first; one where the enrolled one is missing.
        captions: one a row.
    """

    rows: tuple[tuple[NDArray[np.uint8], ...], ...]
    captions: tuple[str, ...]

    @classmethod
    def from_pictures(cls, pictures: Sequence[Sequence[NDArray[np.uint8]]], captions: Sequence[str]) -> EvidenceDisplay:
        """Create from shaded pictures, one or two a row."""
        return cls(tuple(tuple(row) for row in pictures), tuple(captions))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> EvidenceDisplay:
        """Draw the rows below each other."""
        height = len(self.rows) * (1 + CAPTION)
        axes = own_axes(ax, theme, 6.0, 2.9 * height)
        for number, (row, caption) in enumerate(zip(self.rows, self.captions, strict=True)):
            y = number * (1 + CAPTION) + CAPTION
            axes.text(0, y - 0.05, short_name(caption, 80), color=theme.ink, fontsize=9, va="bottom")
            for place, picture in enumerate(row):
                draw_image(axes, picture.transpose(2, 0, 1), place * (1 + GAP), y)
            if len(row) == 1:
                axes.text(1.5 + GAP, y + 0.5, "the enrolled picture\nis not here", color=theme.ink, ha="center")
        axes.set(xlim=(0, 2 + GAP), ylim=(height, 0))
        axes.set_axis_off()
        return self._drawn_on(axes)
