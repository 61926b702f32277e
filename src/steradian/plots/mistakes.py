"""The worst mistakes as pictures: each image beside one of the class it was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian.plots.theme import LIGHT, Theme, own_axes, short_name

COLUMNS = 4
GAP = 0.12
WORDS = 0.42
"""Height of the two lines under a pair, in images."""


@dataclass
class MistakesDisplay:
    """Pairs of images with what was wrong about the first.

    Attributes:
        images: uint8 [M, channels, size, size], those that were named wrongly.
        alike: uint8 [M, channels, size, size], of each the most similar image of the class that it was taken for.
        lines: [M] of two lines of text each.
    """

    images: NDArray[np.uint8]
    alike: NDArray[np.uint8]
    lines: tuple[tuple[str, str], ...]

    @classmethod
    def from_answers(
        cls,
        images: NDArray[np.uint8],
        alike: NDArray[np.uint8],
        true: Sequence[str],
        predicted: Sequence[str],
        probability: Sequence[float],
    ) -> MistakesDisplay:
        """From M mistakes, the surest first."""
        lines = tuple(
            (f"{short_name(is_a, 18)}, taken for", f"{short_name(said, 16)} ({chance:.0%})")
            for is_a, said, chance in zip(true, predicted, probability, strict=True)
        )
        return cls(np.asarray(images), np.asarray(alike), lines)

    @property
    def rows(self) -> int:
        """Rows of the grid."""
        return -(-len(self.lines) // COLUMNS)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> MistakesDisplay:
        """Left of each pair the mistake, right of it an image of the class that was named."""
        axes = own_axes(ax, theme, 8.8, 1.45 * self.rows)
        for number, (image, other, words) in enumerate(zip(self.images, self.alike, self.lines, strict=True)):
            left, top = (number % COLUMNS) * (2 + 2 * GAP), (number // COLUMNS) * (1 + WORDS)
            for place, pixels in enumerate((image, other)):
                x = left + place * (1 + GAP / 4)
                shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(x, x + 1, top + 1, top), aspect="equal")
            said = axes.text(left, top + 1.04, "\n".join(words), color=theme.ink, fontsize=7, va="top")
            # A long name must not push the pictures together.
            said.set_in_layout(False)
        axes.set_xlim(0, COLUMNS * (2 + 2 * GAP))
        axes.set_ylim(self.rows * (1 + WORDS), 0)
        axes.set_axis_off()
        self.ax_, self.figure_ = axes, axes.figure
        return self
