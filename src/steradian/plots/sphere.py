"""Plot 3-D embeddings on the unit sphere, as a static and as an interactive picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike, NDArray

from steradian.plots.embedding import Floats, check_points, class_directions, unit_or_zero
from steradian.plots.theme import LIGHT, Display, Theme, bare, edge, own_axes, short_name


@dataclass
class SphereDisplay(Display):
    """Directions of 3-D embeddings.

    Attributes:
        directions: [N, 3] unit vectors.
        labels: [N].
        classes: C names.
        centers: [C, 3] unit vectors; zero rows are not drawn.
    """

    directions: Floats
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    centers: Floats

    @classmethod
    def from_embeddings(
        cls, embeddings: ArrayLike, labels: ArrayLike, classes: Sequence[str], centers: ArrayLike | None = None
    ) -> SphereDisplay:
        """Create from embeddings [N, 3] and labels [N]; without ``centers`` [C, 3] use the mean directions."""
        points, codes = check_points(embeddings, labels, classes, 3)
        directions = class_directions(points, codes, classes, centers)
        return cls(unit_or_zero(points), codes, tuple(classes), directions)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> SphereDisplay:
        """Draw the two halves of the sphere side by side, each seen from outside."""
        axes = own_axes(ax, theme, 6.4, 3.4)
        for side, offset in ((1.0, -1.08), (-1.0, 1.08)):
            self._half(axes, side, offset, theme)
        bare(axes, 2.15)
        axes.set_ylim(-1.12, 1.12)
        return self._drawn_on(axes)

    def plot_front(self, ax: Axes | None = None, theme: Theme = LIGHT) -> SphereDisplay:
        """Draw the half of the sphere that `plot` draws first."""
        return self._one_half(ax, 1.0, theme)

    def plot_back(self, ax: Axes | None = None, theme: Theme = LIGHT) -> SphereDisplay:
        """Draw the other half of the sphere, seen from outside."""
        return self._one_half(ax, -1.0, theme)

    def _one_half(self, ax: Axes | None, side: float, theme: Theme) -> SphereDisplay:
        axes = own_axes(ax, theme, 3.4, 3.4)
        self._half(axes, side, 0.0, theme)
        bare(axes, 1.1)
        return self._drawn_on(axes)

    def _half(self, axes: Axes, side: float, offset: float, theme: Theme) -> None:
        _graticule(axes, offset, theme)
        x, y, facing = _project(self.directions, side)
        for label in range(len(self.classes)):
            chosen = (self.labels == label) & (facing >= 0)
            look = theme.point(label, len(self.classes))
            axes.scatter(x[chosen] + offset, y[chosen], s=9, edgecolors=[edge(theme)], linewidths=0.3, **look)
        self._names(axes, side, offset, theme)

    def _names(self, axes: Axes, side: float, offset: float, theme: Theme) -> None:
        if len(self.classes) > 40:
            return
        x, y, facing = _project(self.centers, side)
        for label, name in enumerate(self.classes):
            if self.centers[label].any() and facing[label] >= 0:
                spot = (x[label] + offset, y[label] + 0.13, short_name(name))
                axes.text(*spot, color=theme.ink, fontsize=8, weight="bold", ha="center", va="center")

    def traces(self, theme: Theme = LIGHT) -> list[dict[str, Any]]:
        """Return Plotly traces of the interactive picture: one per class, and one with the class names."""
        traces = [
            _trace(self.directions[self.labels == label], "markers", name)
            | {"marker": {"size": 3, "color": to_hex(theme.color(label, len(self.classes)))}}
            | {"hovertemplate": "%{fullData.name}<extra></extra>"}
            for label, name in enumerate(self.classes)
        ]
        drawn = [label for label in range(len(self.classes)) if self.centers[label].any()]
        names = {"text": [self.classes[label] for label in drawn], "hoverinfo": "skip", "showlegend": False}
        return [*traces, _trace(self.centers[drawn] * 1.12, "text", "centers") | names]


def _trace(points: Floats, mode: str, name: str) -> dict[str, Any]:
    x, y, z = points.T.round(4).tolist()
    return {"type": "scatter3d", "mode": mode, "name": name, "x": x, "y": y, "z": z}


def _project(points: Floats, side: float) -> tuple[Floats, Floats, Floats]:
    """Return the horizontal and vertical position and the depth towards the viewer, seen from one of two sides."""
    angle = np.pi / 5
    depth = side * (np.cos(angle) * points[:, 0] + np.sin(angle) * points[:, 1])
    across = side * (-np.sin(angle) * points[:, 0] + np.cos(angle) * points[:, 1])
    return across, points[:, 2], depth


def _graticule(axes: Axes, offset: float, theme: Theme) -> None:
    along = np.linspace(-np.pi / 2, np.pi / 2, 60)
    for angle in np.deg2rad([-60, -30, 0, 30, 60]):
        axes.plot(np.sin(angle) * np.cos(along) + offset, np.sin(along), color=theme.faint, lw=0.5, zorder=0)
        axes.plot(
            np.cos(angle) * np.sin(along) + offset, np.full(60, np.sin(angle)), color=theme.faint, lw=0.5, zorder=0
        )
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn) + offset, np.sin(turn), color=theme.ink, lw=0.8, zorder=0)
