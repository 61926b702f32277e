"""Plot ROC, DET, precision-recall and reliability curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from steradian.plots.theme import LIGHT, Display, Theme, legend, own_axes, short_name

Floats = NDArray[np.floating[Any]]
POINTS = 2000
"""Largest number of points drawn per curve."""


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return at most `POINTS` points; the steps of a larger curve are finer than a pixel."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).astype(int))
    return x[keep], y[keep]


@dataclass
class RocDisplay(Display):
    """True-positive against false-positive rates, with one line per name.

    Attributes:
        curves: name -> (false-positive rates [T], true-positive rates [T]).
    """

    curves: dict[str, tuple[Floats, Floats]]

    @classmethod
    def from_rates(cls, curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> RocDisplay:
        """Create from rates that rise from (0, 0) to (1, 1)."""
        return cls({name: (np.asarray(far), np.asarray(tar)) for name, (far, tar) in curves.items()})

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> RocDisplay:
        """Draw the ROC curves on linear axes; the dotted diagonal is chance level."""
        axes = own_axes(ax, theme)
        axes.plot([0, 1], [0, 1], color=theme.faint, ls=":", lw=1)
        for index, (name, (far, tar)) in enumerate(self.curves.items()):
            axes.plot(*_thinned(far, tar), lw=1.5, label=short_name(name, 20), **theme.line(index))
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
        legend(axes, theme)
        return self._drawn_on(axes)

    def plot_det(self, ax: Axes | None = None, theme: Theme = LIGHT) -> RocDisplay:
        """Draw the detection error tradeoff: false-reject against false-accept rate, both logarithmic."""
        axes, drawn = own_axes(ax, theme), False
        for index, (name, (far, tar)) in enumerate(self.curves.items()):
            x, y = far, 1.0 - tar
            nonzero = (x > 0) & (y > 0)
            axes.plot(*_thinned(x[nonzero], y[nonzero]), label=short_name(name, 20), **theme.line(index))
            drawn = drawn or bool(nonzero.any())
        if drawn:
            axes.set(xscale="log", yscale="log")
        else:
            note = "no threshold has both errors"
            axes.text(0.5, 0.5, note, color=theme.ink, ha="center", transform=axes.transAxes)
        axes.set(xlabel="false-accept rate", ylabel="false-reject rate")
        legend(axes, theme)
        return self._drawn_on(axes)


@dataclass
class PrecisionRecallDisplay(Display):
    """Precision against recall, with one line per name.

    Attributes:
        curves: name -> (recall [T], precision [T]).
    """

    curves: dict[str, tuple[Floats, Floats]]

    @classmethod
    def from_rates(cls, curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> PrecisionRecallDisplay:
        """Create from rising recalls and their precisions."""
        return cls({name: (np.asarray(recall), np.asarray(precision)) for name, (recall, precision) in curves.items()})

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> PrecisionRecallDisplay:
        """Draw step curves: precision is not interpolated."""
        axes = own_axes(ax, theme)
        for index, (name, (recall, precision)) in enumerate(self.curves.items()):
            line = theme.line(index)
            axes.step(*_thinned(recall, precision), where="post", lw=1.5, label=short_name(name, 20), **line)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05), xlabel="recall", ylabel="precision")
        legend(axes, theme)
        return self._drawn_on(axes)


@dataclass
class ReliabilityDisplay(Display):
    """Accuracy against confidence, in bins.

    Attributes:
        confidence, accuracy: [B], means of the non-empty bins.
        images: [B], number of images in each bin.
    """

    confidence: Floats
    accuracy: Floats
    images: NDArray[np.integer[Any]]

    @classmethod
    def from_bins(cls, confidence: ArrayLike, accuracy: ArrayLike, images: ArrayLike) -> ReliabilityDisplay:
        """Create from the bins that `steradian.metrics.reliability` returns."""
        return cls(np.asarray(confidence), np.asarray(accuracy), np.asarray(images))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ReliabilityDisplay:
        """Draw one dot per bin, sized by its images; on the dotted line confidence equals accuracy."""
        axes = own_axes(ax, theme)
        axes.plot([0, 1], [0, 1], color=theme.faint, ls=":", lw=1)
        size = 12.0 + 240.0 * self.images / max(1, int(self.images.max()))
        axes.vlines(self.confidence, self.confidence, self.accuracy, color=theme.color(2), lw=1)
        axes.scatter(self.confidence, self.accuracy, s=size, color=theme.color(0), zorder=2)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy")
        return self._drawn_on(axes)
