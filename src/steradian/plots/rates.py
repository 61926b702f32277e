"""Plot ROC, DET, precision-recall and reliability curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from steradian.plots.margins import LINES
from steradian.plots.theme import LIGHT, Theme, legend, own_axes, short_name

Floats = NDArray[np.floating[Any]]
POINTS = 2000
"""Largest number of points drawn per curve."""


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return at most `POINTS` points; the steps of a larger curve are finer than a pixel."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).astype(int))
    return x[keep], y[keep]


@dataclass
class RocDisplay:
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
        self._lines(axes, theme)
        axes.set_xlabel("false-positive rate")
        axes.set_ylabel("true-positive rate")
        legend(axes, theme)
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def plot_det(self, ax: Axes | None = None, theme: Theme = LIGHT) -> RocDisplay:
        """Draw the detection error tradeoff: false-reject against false-accept rate, both logarithmic."""
        axes, drawn = own_axes(ax, theme), False
        for index, (name, (far, tar)) in enumerate(self.curves.items()):
            x, y = far, 1.0 - tar
            nonzero = (x > 0) & (y > 0)
            axes.plot(
                *_thinned(x[nonzero], y[nonzero]),
                color=theme.color(index),
                ls=LINES[index % len(LINES)],
                label=short_name(name, 20),
            )
            drawn = drawn or bool(nonzero.any())
        if drawn:
            axes.set_xscale("log")
            axes.set_yscale("log")
        else:
            middle = axes.transAxes
            axes.text(0.5, 0.5, "no threshold has both errors", color=theme.ink, ha="center", transform=middle)
        axes.set_xlabel("false-accept rate")
        axes.set_ylabel("false-reject rate")
        legend(axes, theme)
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def _lines(self, axes: Axes, theme: Theme) -> None:
        for index, (name, (far, tar)) in enumerate(self.curves.items()):
            style = LINES[index % len(LINES)]
            axes.plot(*_thinned(far, tar), color=theme.color(index), ls=style, lw=1.5, label=short_name(name, 20))


@dataclass
class PrecisionRecallDisplay:
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
            x, y = _thinned(recall, precision)
            axes.step(
                x,
                y,
                where="post",
                color=theme.color(index),
                ls=LINES[index % len(LINES)],
                lw=1.5,
                label=short_name(name, 20),
            )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.05)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        legend(axes, theme)
        self.ax_, self.figure_ = axes, axes.figure
        return self


@dataclass
class ReliabilityDisplay:
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
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        self.ax_, self.figure_ = axes, axes.figure
        return self
