"""Plot the worst mistakes: each image beside one of the predicted class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian.plots.theme import LIGHT, Theme, own_axes, short_name

COLUMNS = 4
GAP = 0.12
CAPTION = 0.42
"""Height of the two caption lines under a pair, in image heights."""


@dataclass
class MistakesDisplay:
    """Misclassified images, each paired with an image of the predicted class.

    Attributes:
        images: uint8 [M, channels, size, size], the misclassified images.
        alike: uint8 [M, channels, size, size], for each of them the most similar image of the predicted class.
        lines: [M], two lines of text each.
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
        """Create from M mistakes, the most confident first."""
        lines = tuple(
            (f"{short_name(actual, 18)}, predicted", f"{short_name(answer, 16)} ({chance:.0%})")
            for actual, answer, chance in zip(true, predicted, probability, strict=True)
        )
        return cls(np.asarray(images), np.asarray(alike), lines)

    @property
    def rows(self) -> int:
        """Number of rows of the grid."""
        return -(-len(self.lines) // COLUMNS)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> MistakesDisplay:
        """Draw each mistake on the left of its pair, and an image of the predicted class on the right."""
        axes = own_axes(ax, theme, 8.8, 1.45 * self.rows)
        for number, (image, other, lines) in enumerate(zip(self.images, self.alike, self.lines, strict=True)):
            left, top = (number % COLUMNS) * (2 + 2 * GAP), (number // COLUMNS) * (1 + CAPTION)
            for side, pixels in enumerate((image, other)):
                x = left + side * (1 + GAP / 4)
                shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(x, x + 1, top + 1, top), aspect="equal")
            caption = axes.text(left, top + 1.04, "\n".join(lines), color=theme.ink, fontsize=7, va="top")
            # Keep a long name from shrinking the images.
            caption.set_in_layout(False)
        axes.set_xlim(0, COLUMNS * (2 + 2 * GAP))
        axes.set_ylim(self.rows * (1 + CAPTION), 0)
        axes.set_axis_off()
        self.ax_, self.figure_ = axes, axes.figure
        return self
