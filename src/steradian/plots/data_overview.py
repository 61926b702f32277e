"""Show an overview of a data set: one image of each class, and the class sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian.plots.theme import LIGHT, Theme, own_axes, short_name

COLUMNS, GAP, CAPTION = 8, 0.08, 0.22


@dataclass
class ExamplesDisplay:
    """Images with a name under each.

    Attributes:
        images: uint8 [M, channels, size, size].
        names: [M].
    """

    images: NDArray[np.uint8]
    names: tuple[str, ...]

    @classmethod
    def from_images(cls, images: NDArray[np.uint8], names: Sequence[str]) -> ExamplesDisplay:
        """Create from M images and their names."""
        return cls(np.asarray(images), tuple(names))

    @property
    def rows(self) -> int:
        """Number of rows of the grid."""
        return -(-len(self.names) // COLUMNS)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ExamplesDisplay:
        """Draw the images row by row, each above its name."""
        axes = own_axes(ax, theme, 8.8, 1.35 * self.rows)
        for number, (image, name) in enumerate(zip(self.images, self.names, strict=True)):
            x, y = (number % COLUMNS) * (1 + GAP), (number // COLUMNS) * (1 + CAPTION)
            shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(x, x + 1, y + 1, y), aspect="equal")
            caption = axes.text(x, y + 1.03, short_name(name, 15), color=theme.ink, fontsize=7, va="top")
            caption.set_in_layout(False)
        axes.set_xlim(0, COLUMNS * (1 + GAP))
        axes.set_ylim(self.rows * (1 + CAPTION), 0)
        axes.set_axis_off()
        self.ax_, self.figure_ = axes, axes.figure
        return self


@dataclass
class ClassSizesDisplay:
    """Number of images of each class, the largest class first.

    Attributes:
        names: [C], in that order.
        counts: int [C].
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> ClassSizesDisplay:
        """Create from a mapping of class name to number of images."""
        order = sorted(counts, key=lambda name: -counts[name])
        return cls(tuple(order), np.array([counts[name] for name in order], dtype=np.int64))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ClassSizesDisplay:
        """Draw named bars for up to 30 classes, otherwise a curve; a long tail has a logarithmic axis."""
        axes = own_axes(ax, theme, 8.8, 2.6)
        few = len(self.names) <= 30
        if few:
            axes.bar(np.arange(len(self.names)), self.counts, color=theme.color(0), width=0.8)
            axes.set_xticks(np.arange(len(self.names)))
            axes.set_xticklabels([short_name(name, 14) for name in self.names], rotation=60, ha="right", fontsize=7)
        else:
            axes.fill_between(np.arange(1, len(self.names) + 1), self.counts, color=theme.color(0), step="mid", lw=0)
            axes.set_xlabel("classes, largest first")
        if self.counts.max() > 20 * max(1, int(self.counts.min())):
            axes.set_yscale("log")
        axes.set_ylabel("images")
        self.ax_, self.figure_ = axes, axes.figure
        return self
