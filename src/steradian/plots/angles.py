"""Plot the angles of embeddings to their own class and to the nearest other class, as histograms and scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from steradian.metrics import ClassAngles, class_angles
from steradian.plots.theme import LIGHT, Display, Theme, legend, own_axes


@dataclass
class AnglesDisplay(Display):
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
        both = {"to own class": self.angles.own, "to nearest other": self.angles.nearest_other}
        for index, (name, values) in enumerate(both.items()):
            degrees = np.rad2deg(values)
            weights = np.full(len(degrees), 100.0 / len(degrees))
            axes.hist(degrees, bins, weights=weights, color=theme.color(index), alpha=0.75, label=name)
        axes.set_xlim(0, max(30.0, float(np.rad2deg(self.angles.nearest_other.max())) + 4.0))
        axes.set(xlabel="angle (degrees)", ylabel="% of images")
        legend(axes, theme)
        return self._drawn_on(axes)

    def plot_own_against_nearest(self, ax: Axes | None = None, theme: Theme = LIGHT) -> AnglesDisplay:
        """Draw one point per image; above the diagonal the own class is the nearest."""
        axes = own_axes(ax, theme)
        own, other = np.rad2deg(self.angles.own), np.rad2deg(self.angles.nearest_other)
        correct = own < other
        right_end, top = max(30.0, float(own.max())) + 3.0, max(30.0, float(other.max())) * 1.3
        axes.plot([0, min(right_end, top)], [0, min(right_end, top)], color=theme.faint, lw=1)
        looks: tuple[dict[str, Any], ...] = (
            {"label": f"right ({correct.sum()})", "s": 10, "marker": "o", "color": theme.color(0), "alpha": 0.6},
            {"label": f"wrong ({(~correct).sum()})", "s": 16, "marker": "X", "color": theme.color(2), "alpha": 1.0},
        )
        for chosen, look in zip((correct, ~correct), looks, strict=True):
            axes.scatter(own[chosen], other[chosen], linewidths=0, **look)
        axes.set(xlim=(0, right_end), ylim=(0, top))
        axes.set(xlabel="to own class (degrees)", ylabel="to nearest other (degrees)")
        legend(axes, theme, location="upper right")
        return self._drawn_on(axes)
