"""Plot 2-D embeddings, raw and on the unit circle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.plots.theme import LIGHT, Display, Theme, bare, edge, own_axes, short_name

Floats = NDArray[np.float64]


def check_points(
    embeddings: ArrayLike, labels: ArrayLike, classes: Sequence[str], dimensions: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Return embeddings [N, ``dimensions``] and labels [N] in 0..C-1 as arrays, or raise `InputError`."""
    points, codes = np.asarray(embeddings, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if points.ndim != 2 or points.shape[1] != dimensions:
        raise InputError(
            f"this picture is of embeddings [N, {dimensions}], but they came as {list(points.shape)}. "
            f"Train with --dims {dimensions}."
        )
    if codes.shape != (len(points),) or len(codes) == 0 or codes.min() < 0 or codes.max() >= len(classes):
        raise InputError(f"labels must be [{len(points)}] of 0..{len(classes) - 1}, but have another shape or value.")
    return points, codes


def class_directions(
    points: Floats, labels: NDArray[np.int64], classes: Sequence[str], centers: ArrayLike | None
) -> Floats:
    """Return unit vectors [C, D]: those of ``centers`` if given, else mean directions of the classes (absent: 0)."""
    if centers is not None:
        return unit_or_zero(np.asarray(centers, dtype=np.float64))
    sums = np.zeros((len(classes), points.shape[1]))
    np.add.at(sums, labels, unit_or_zero(points))
    return unit_or_zero(sums)


def unit_or_zero(vectors: Floats) -> Floats:
    """Divide rows by their norm; zero rows stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Floats = vectors / np.where(norms > 0, norms, 1.0)
    return units


@dataclass
class EmbeddingDisplay(Display):
    """Raw 2-D embeddings: direction shows the class, length the confidence. Rays point at the class centers.

    Attributes:
        points: [N, 2].
        labels: [N].
        classes: C names.
        centers: [C, 2] unit vectors; zero rows are not drawn.
        correct: [N], whether the nearest center is that of the true class.
    """

    points: Floats
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    centers: Floats

    @classmethod
    def from_embeddings(
        cls, embeddings: ArrayLike, labels: ArrayLike, classes: Sequence[str], centers: ArrayLike | None = None
    ) -> EmbeddingDisplay:
        """Create from raw embeddings [N, 2] and labels [N]; without ``centers`` [C, 2] use the mean directions."""
        points, codes = check_points(embeddings, labels, classes, 2)
        return cls(points, codes, tuple(classes), class_directions(points, codes, classes, centers))

    @property
    def correct(self) -> NDArray[np.bool_]:
        nearest = (unit_or_zero(self.points) @ self.centers.T).argmax(axis=1)
        correct: NDArray[np.bool_] = nearest == self.labels
        return correct

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> EmbeddingDisplay:
        """Draw the raw embeddings. Points nearer to another class's center have a rim in the text color."""
        axes = own_axes(ax, theme)
        count = len(self.classes)
        reach = float(np.quantile(np.linalg.norm(self.points, axis=1), 0.995)) or 1.0
        for radius in (reach / 2, reach):
            turn = np.linspace(0, 2 * np.pi, 200)
            axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=theme.faint, lw=0.6, zorder=0)
        correct = self.correct
        for label in range(count):
            in_class = self.labels == label
            for chosen, rim in ((in_class & correct, edge(theme)), (in_class & ~correct, theme.ink)):
                width = 0.35 if rim != theme.ink else 0.9
                look = {"edgecolors": [rim], "linewidths": width, **theme.point(label, count)}
                axes.scatter(self.points[chosen, 0], self.points[chosen, 1], s=13, zorder=2, **look)
        _rays(axes, self.centers, self.classes, theme, reach * 1.05)
        bare(axes, reach * 1.3)
        return self._drawn_on(axes)

    def plot_circle(self, ax: Axes | None = None, theme: Theme = LIGHT) -> EmbeddingDisplay:
        """Draw only the directions, as bars outside the unit circle that count the points of each class."""
        axes = own_axes(ax, theme)
        count, bins = len(self.classes), 180
        turn = np.linspace(0, 2 * np.pi, 361)
        axes.plot(np.cos(turn), np.sin(turn), color=theme.ink, lw=0.8)
        edges = np.linspace(-np.pi, np.pi, bins + 1)
        directions = np.arctan2(self.points[:, 1], self.points[:, 0])
        counts = np.stack([np.histogram(directions[self.labels == label], edges)[0] for label in range(count)])
        heights = np.sqrt(counts) / max(1.0, float(np.sqrt(counts.sum(axis=0)).max())) * 0.55
        middle = (edges[:-1] + edges[1:]) / 2
        floor = np.ones(bins)
        for label in range(count):
            filled = heights[label] > 0
            wedge = np.stack([floor[filled], floor[filled] + heights[label][filled]])
            x, y = wedge * np.cos(middle[filled]), wedge * np.sin(middle[filled])
            axes.plot(x, y, color=theme.color(label, count), lw=2.4, solid_capstyle="butt")
            floor = floor + heights[label]
        _rays(axes, self.centers, self.classes, theme, 0.78, inner=True)
        bare(axes, 1.62)
        return self._drawn_on(axes)


def _rays(
    axes: Axes, centers: Floats, classes: tuple[str, ...], theme: Theme, length: float, inner: bool = False
) -> None:
    """Draw a ray to each center, with the class name at its end up to 30 classes."""
    for label, center in enumerate(centers):
        if not center.any():
            continue
        tip = center * length
        axes.plot([0, tip[0]], [0, tip[1]], color=theme.color(label, len(classes)), lw=1.1, alpha=0.9, zorder=1)
        if len(classes) <= 30:
            x, y = center * (length + (0.11 if inner else length * 0.1))
            look: dict[str, Any] = {"color": theme.ink, "fontsize": 8, "weight": "bold", "zorder": 3}
            axes.text(x, y, short_name(classes[label]), ha="center", va="center", **look)
