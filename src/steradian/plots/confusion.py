"""Plot a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix

from steradian.plots.theme import LIGHT, Display, Theme, own_axes, short_name


def _readable_on(color: tuple[float, ...], theme: Theme) -> str:
    """Return the theme's text or background color, whichever contrasts more with ``color``."""

    def brightness(rgb: tuple[float, ...]) -> float:
        return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]

    return max((theme.ink, theme.paper), key=lambda candidate: abs(brightness(to_rgb(candidate)) - brightness(color)))


@dataclass
class ConfusionDisplay(Display):
    """Confusion matrix in scikit-learn's orientation: rows are true classes, columns predictions.

    Attributes:
        counts: [C, C].
        classes: C names.
    """

    counts: NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def from_predictions(cls, labels: ArrayLike, predictions: ArrayLike, classes: Sequence[str]) -> ConfusionDisplay:
        """Create from int labels [N] and predictions [N] in 0..C-1."""
        counts = confusion_matrix(labels, predictions, labels=np.arange(len(classes)))
        return cls(counts.astype(np.int64), tuple(classes))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ConfusionDisplay:
        """Draw the row shares as colors, with nonzero counts as numbers up to 15 classes."""
        axes = own_axes(ax, theme)
        count = len(self.classes)
        shares = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        shade = LinearSegmentedColormap.from_list("shade", [to_rgb(theme.paper), theme.color(0)])
        axes.imshow(np.sqrt(shares), cmap=shade, vmin=0, vmax=1)
        if count <= 15:
            for row, column in np.argwhere(self.counts > 0):
                color = _readable_on(shade(np.sqrt(shares[row, column]))[:3], theme)
                text, weight = str(self.counts[row, column]), "normal" if row == column else "bold"
                axes.text(column, row, text, color=color, fontsize=7, ha="center", va="center", weight=weight)
        if count <= 40:
            short = [short_name(name, 10) for name in self.classes]
            tilt = 90 if max(map(len, short)) > 3 else 0
            axes.set_xticks(range(count), short, rotation=tilt, fontsize=7)
            axes.set_yticks(range(count), short, fontsize=7)
        axes.set(xlabel="predicted", ylabel="true")
        return self._drawn_on(axes)
