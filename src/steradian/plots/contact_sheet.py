"""Plot images beside their augmented views, as used in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from steradian.plots.theme import LIGHT, Theme, own_axes


@dataclass
class ViewsDisplay:
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
                image = self.pixels[column, row]
                shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
                x, y = 1.06 * column, 1.06 * row
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(x, x + 1, y + 1, y), aspect="equal")
            title = "image" if column == 0 else f"view {column - 1}"
            axes.text(1.06 * column + 0.5, -0.06, title, color=theme.ink, fontsize=8, ha="center")
        axes.set_xlim(0, 1.06 * views - 0.06)
        axes.set_ylim(1.06 * count - 0.06, -0.3)
        axes.set_axis_off()
        self.ax_, self.figure_ = axes, axes.figure
        return self
