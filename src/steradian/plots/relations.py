"""Plot the similarity of class centers, as a heat map and as a 2-D map."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from torch import nn

from steradian.errors import InputError
from steradian.plots.theme import LIGHT, Display, Theme, own_axes, short_name


@dataclass
class ClassRelationsDisplay(Display):
    """Similarities of all pairs of class centers.

    Attributes:
        similarity: [C, C], cosines, or their scores if the loss has one.
        places: [C, 2], coordinates of the unit centers along their two principal directions.
        classes: C names.
        order: [C], class indices sorted so that similar classes are adjacent.
    """

    similarity: NDArray[np.float64]
    places: NDArray[np.float64]
    classes: tuple[str, ...]
    order: NDArray[np.intp]

    @classmethod
    def from_centers(
        cls, centers: ArrayLike, classes: Sequence[str], score: nn.Module | None = None
    ) -> ClassRelationsDisplay:
        """Create from centers [C, D], C names, and the monotone score of the loss (``loss.score``) if it has one.

        Raises:
            InputError: there are fewer than two classes, or the number of names differs.
        """
        rows = np.asarray(centers, np.float64)
        if rows.ndim != 2 or len(rows) != len(classes) or len(rows) < 2:
            raise InputError(
                f"centers must be [C, D] with C names and C at least 2, but came as {list(rows.shape)} "
                f"with {len(classes)} names."
            )
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        cosine = np.clip(unit @ unit.T, -1.0, 1.0)
        distance = 1.0 - cosine
        np.fill_diagonal(distance, 0.0)
        order = leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=len(rows) <= 500))
        similarity = cosine
        if score is not None:
            with torch.no_grad():
                similarity = copy.deepcopy(score).cpu().double()(torch.from_numpy(cosine)).numpy()
        centered = unit - unit.mean(axis=0)
        _, _, axes = np.linalg.svd(centered, full_matrices=False)
        places = np.zeros((len(unit), 2))
        count = min(2, len(axes))
        places[:, :count] = centered @ axes[:count].T
        return cls(similarity, places, tuple(classes), order.astype(np.intp))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ClassRelationsDisplay:
        """Draw a heat map with similar classes adjacent; the color range ignores the diagonal."""
        axes = own_axes(ax, theme)
        shown = self.similarity[np.ix_(self.order, self.order)]
        others = shown[~np.eye(len(shown), dtype=bool)]
        shade = LinearSegmentedColormap.from_list("shade", [to_rgb(theme.paper), theme.color(0)])
        axes.imshow(shown, cmap=shade, vmin=others.min(), vmax=max(others.max(), others.min() + 1e-9))
        if len(self.classes) <= 40:
            short = [short_name(self.classes[index]) for index in self.order]
            axes.set_xticks(range(len(short)), short, rotation=90, fontsize=7)
            axes.set_yticks(range(len(short)), short, fontsize=7)
        else:
            axes.set(xticks=[], yticks=[])
        return self._drawn_on(axes)

    def plot_map(self, ax: Axes | None = None, theme: Theme = LIGHT) -> ClassRelationsDisplay:
        """Draw classes as named points; near points are similar, as far as two dimensions can show."""
        axes = own_axes(ax, theme)
        axes.scatter(self.places[:, 0], self.places[:, 1], s=14, color=theme.color(0), linewidths=0)
        if len(self.classes) <= 120:
            for (x, y), name in zip(self.places, self.classes, strict=True):
                look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "color": theme.ink}
                axes.annotate(short_name(name), (float(x), float(y)), (3, 3), **look)
        axes.margins(0.12)
        axes.set(xticks=[], yticks=[])
        return self._drawn_on(axes)
