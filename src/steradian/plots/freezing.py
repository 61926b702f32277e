"""Accuracy by how many layers of a pretrained encoder are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from steradian.plots.theme import LIGHT, Theme, own_axes

STYLES: dict[str, tuple[str, str, str]] = {
    "kept": ("all layers taken, the first n frozen", "o", "#3f76c4"),
    "moved": ("only the first n taken, frozen", "D", "#c23b30"),
    "tuned": ("only the first n taken, all tuned", "X", "#e88a7d"),
}
"""Arm -> what it is, marker, color."""


@dataclass
class FreezingDisplay:
    """Accuracies of every network.

    Attributes:
        values: arm -> number of layers -> one accuracy for each seed.
        scratch: accuracies without pretrained weights.
        advised: the number of layers to mark, or None.
    """

    values: dict[str, dict[int, list[float]]]
    scratch: list[float]
    advised: int | None

    @classmethod
    def from_accuracies(
        cls,
        values: Mapping[str, Mapping[int, Sequence[float]]],
        scratch: Sequence[float] = (),
        advised: int | None = None,
    ) -> FreezingDisplay:
        """From accuracies by arm and number of layers."""
        kept = {arm: {n: list(found) for n, found in by_n.items() if len(found)} for arm, by_n in values.items()}
        return cls({arm: by_n for arm, by_n in kept.items() if by_n}, list(scratch), advised)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> FreezingDisplay:
        """A line through the means of each arm and a marker for each network."""
        axes = own_axes(ax, theme, 5.6, 4.2)
        if self.scratch:
            axes.axhline(float(np.mean(self.scratch)), color=theme.ink, ls="--", lw=1, label="nothing taken")
        for arm, by_layers in self.values.items():
            words, marker, color = STYLES[arm]
            means = [float(np.mean(found)) for found in by_layers.values()]
            axes.plot(list(by_layers), means, color=color, lw=1.4, label=words)
            x = np.concatenate([np.full(len(found), n) for n, found in by_layers.items()])
            axes.scatter(x, np.concatenate(list(by_layers.values())), s=24, marker=marker, color=color)
        if self.advised is not None:
            axes.axvline(self.advised, color=theme.ink, lw=1, ls=":")
        axes.set_xticks(sorted({n for by_layers in self.values.values() for n in by_layers}))
        axes.set_xlabel("layers, n")
        axes.set_ylabel("accuracy on test images")
        axes.legend(frameon=False, fontsize=7, labelcolor=theme.ink)
        self.ax_, self.figure_ = axes, axes.figure
        return self
