"""Plot images: examples of each class and the class sizes, training views, and mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from steradian.plots.theme import LIGHT, Display, Theme, draw_image, own_axes, short_name

COLUMNS, GAP, CAPTION = 8, 0.08, 0.22
PAIR_COLUMNS, PAIR_GAP, PAIR_CAPTION = 4, 0.12, 0.42
"""Columns of a grid; gaps and captions in image heights."""


@dataclass
class ExamplesDisplay(Display):
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
            draw_image(axes, image, x, y)
            caption = axes.text(x, y + 1.03, short_name(name, 15), color=theme.ink, fontsize=7, va="top")
            caption.set_in_layout(False)
        axes.set(xlim=(0, COLUMNS * (1 + GAP)), ylim=(self.rows * (1 + CAPTION), 0))
        axes.set_axis_off()
        return self._drawn_on(axes)


@dataclass
class ClassSizesDisplay(Display):
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
        return self._drawn_on(axes)


@dataclass
class ViewsDisplay(Display):
    """One row per image: the image, then its views.

    Attributes:
        pixels: uint8 [V + 1, N, channels, size, size], the original images first.
    """

    pixels: NDArray[np.uint8]

    @classmethod
    def from_views(cls, images: ArrayLike, views: ArrayLike) -> ViewsDisplay:
        """Create from images [N, channels, size, size] and views [V, N, channels, size, size] in [0, 1]."""
        everything = np.concatenate([np.asarray(images)[None], np.asarray(views)])
        return cls((255.0 * everything).round().clip(0, 255).astype(np.uint8))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ViewsDisplay:
        """Draw one named column per view; later views are harder."""
        views, count = self.pixels.shape[:2]
        axes = own_axes(ax, theme, 1.3 * views, 1.3 * count + 0.3)
        for column in range(views):
            for row in range(count):
                draw_image(axes, self.pixels[column, row], 1.06 * column, 1.06 * row)
            title = "image" if column == 0 else f"view {column - 1}"
            axes.text(1.06 * column + 0.5, -0.06, title, color=theme.ink, fontsize=8, ha="center")
        axes.set(xlim=(0, 1.06 * views - 0.06), ylim=(1.06 * count - 0.06, -0.3))
        axes.set_axis_off()
        return self._drawn_on(axes)


@dataclass
class MistakesDisplay(Display):
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
        return -(-len(self.lines) // PAIR_COLUMNS)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> MistakesDisplay:
        """Draw each mistake on the left of its pair, and an image of the predicted class on the right."""
        axes = own_axes(ax, theme, 8.8, 1.45 * self.rows)
        for number, (image, other, lines) in enumerate(zip(self.images, self.alike, self.lines, strict=True)):
            left, top = (number % PAIR_COLUMNS) * (2 + 2 * PAIR_GAP), (number // PAIR_COLUMNS) * (1 + PAIR_CAPTION)
            for side, pixels in enumerate((image, other)):
                draw_image(axes, pixels, left + side * (1 + PAIR_GAP / 4), top)
            caption = axes.text(left, top + 1.04, "\n".join(lines), color=theme.ink, fontsize=7, va="top")
            # Keep a long name from shrinking the images.
            caption.set_in_layout(False)
        axes.set(xlim=(0, PAIR_COLUMNS * (2 + 2 * PAIR_GAP)), ylim=(self.rows * (1 + PAIR_CAPTION), 0))
        axes.set_axis_off()
        return self._drawn_on(axes)
