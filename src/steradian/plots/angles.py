"""Plot the angles of embeddings to their own class and to the nearest other class, as histograms and scatter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from steradian.metrics import ClassAngles, class_angles
from steradian.plots.theme import LIGHT, Theme, legend, own_axes


@dataclass
class AnglesDisplay:
    """Angles between each embedding and the mean directions of the classes, in radians (drawn in degrees)."""

    angles: ClassAngles

    @classmethod
    def from_embeddings(cls, embeddings: ArrayLike, labels: ArrayLike) -> AnglesDisplay:
        """Create from embeddings [N, D] and int labels [N] of at least two classes."""
        return cls(class_angles(embeddings, labels))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> AnglesDisplay:
        """Draw histograms of the angle to the own class and of the angle to the nearest other class."""
        axes = own_axes(ax, theme)
        bins = np.linspace(0, 180, 91).tolist()
        for index, (values, name) in enumerate(
            ((self.angles.own, "to own class"), (self.angles.nearest_other, "to nearest other"))
        ):
            degrees = np.rad2deg(values)
            weights = np.full(len(degrees), 100.0 / len(degrees))
            axes.hist(degrees, bins, weights=weights, color=theme.color(index), alpha=0.75, label=name)
        axes.set_xlim(0, max(30.0, float(np.rad2deg(self.angles.nearest_other.max())) + 4.0))
        axes.set_xlabel("angle (degrees)")
        axes.set_ylabel("% of images")
        legend(axes, theme)
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def plot_own_against_nearest(self, ax: Axes | None = None, theme: Theme = LIGHT) -> AnglesDisplay:
        """Draw one point per image; above the diagonal the own class is the nearest."""
        axes = own_axes(ax, theme)
        own, other = np.rad2deg(self.angles.own), np.rad2deg(self.angles.nearest_other)
        correct = own < other
        right_end, top = max(30.0, float(own.max())) + 3.0, max(30.0, float(other.max())) * 1.3
        axes.plot([0, min(right_end, top)], [0, min(right_end, top)], color=theme.faint, lw=1)
        for chosen, index, marker, name in ((correct, 0, "o", "right"), (~correct, 2, "X", "wrong")):
            axes.scatter(
                own[chosen],
                other[chosen],
                s=10 if name == "right" else 16,
                marker=marker,
                color=theme.color(index),
                alpha=0.6 if name == "right" else 1.0,
                linewidths=0,
                label=f"{name} ({chosen.sum()})",
            )
        axes.set(xlim=(0, right_end), ylim=(0, top))
        axes.set_xlabel("to own class (degrees)")
        axes.set_ylabel("to nearest other (degrees)")
        legend(axes, theme, location="upper right")
        self.ax_, self.figure_ = axes, axes.figure
        return self
