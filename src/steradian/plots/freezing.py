"""Plot accuracy by the number of pretrained encoder layers that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from steradian.plots.theme import LIGHT, Theme, own_axes

STYLES: dict[str, tuple[str, str, str]] = {
    "kept": ("all layers pretrained, first n frozen", "o", "#3f76c4"),
    "moved": ("only first n pretrained, frozen", "D", "#c23b30"),
    "tuned": ("only first n pretrained, all tuned", "X", "#e88a7d"),
}
"""Arm -> legend label, marker, color."""


@dataclass
class FreezingDisplay:
    """Accuracies of all networks of the freezing study.

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
        """Create from accuracies by arm and number of layers."""
        lists = {arm: {n: list(runs) for n, runs in by_n.items() if len(runs)} for arm, by_n in values.items()}
        return cls({arm: by_n for arm, by_n in lists.items() if by_n}, list(scratch), advised)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> FreezingDisplay:
        """Draw a line through the means of each arm and a marker for each network."""
        axes = own_axes(ax, theme, 5.6, 4.2)
        if self.scratch:
            axes.axhline(float(np.mean(self.scratch)), color=theme.ink, ls="--", lw=1, label="no pretrained layers")
        for arm, by_layers in self.values.items():
            label, marker, color = STYLES[arm]
            means = [float(np.mean(accuracies)) for accuracies in by_layers.values()]
            axes.plot(list(by_layers), means, color=color, lw=1.4, label=label)
            x = np.concatenate([np.full(len(accuracies), n) for n, accuracies in by_layers.items()])
            axes.scatter(x, np.concatenate(list(by_layers.values())), s=24, marker=marker, color=color)
        if self.advised is not None:
            axes.axvline(self.advised, color=theme.ink, lw=1, ls=":")
        axes.set_xticks(sorted({n for by_layers in self.values.values() for n in by_layers}))
        axes.set_xlabel("layers, n")
        axes.set_ylabel("accuracy on test images")
        axes.legend(frameon=False, fontsize=7, labelcolor=theme.ink)
        self.ax_, self.figure_ = axes, axes.figure
        return self
