"""Plot accuracy by the number of layers that are transferred (figures 2 and 3 of Yosinski et al. 2014) or kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from steradian.plots.theme import LIGHT, Display, Theme, own_axes

STYLES: dict[str, tuple[str, str, bool]] = {
    "base": ("o", "none", True),
    "base x2": ("s", "none", False),
    "BnB": ("o", "#1f4e9c", False),
    "BnB+": ("P", "#7db3e8", False),
    "AnB": ("D", "#a8201a", False),
    "AnB+": ("X", "#e88a7d", False),
    "random": ("v", "#8a8f98", False),
}
"""Arm -> marker, color (none: the theme's text color), whether the marker is hollow."""

NAMES = {
    "base": "base: from scratch",
    "base x2": "base, twice as long",
    "BnB": "BnB: own layers, frozen",
    "BnB+": "BnB+: own layers, tuned",
    "AnB": "AnB: other half's layers, frozen",
    "AnB+": "AnB+: other half's layers, tuned",
    "random": "random layers, frozen",
}


def _measured(values: Mapping[str, Mapping[int, Sequence[float]]]) -> dict[str, dict[int, list[float]]]:
    """Return the accuracies without the empty entries."""
    lists = {arm: {n: list(runs) for n, runs in by_n.items() if len(runs)} for arm, by_n in values.items()}
    return {arm: by_n for arm, by_n in lists.items() if by_n}


@dataclass
class TransferDisplay(Display):
    """Accuracies of all networks of the transfer study.

    Attributes:
        values: arm -> number of layers (0 for bases) -> one accuracy for each target half and seed.
    """

    values: dict[str, dict[int, list[float]]]

    @classmethod
    def from_accuracies(cls, values: Mapping[str, Mapping[int, Sequence[float]]]) -> TransferDisplay:
        """Create from accuracies by arm and number of layers."""
        return cls(_measured(values))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TransferDisplay:
        """Draw a marker for each network, as published: the scatter shows how much runs differ."""
        axes = self._axes(ax, theme)
        for number, (arm, by_layers) in enumerate(self.values.items()):
            marker, color, hollow = self._style(arm, theme)
            shift = 0.09 * (number - (len(self.values) - 1) / 2) if arm not in ("base", "base x2") else 0.0
            x = np.concatenate([np.full(len(accuracies), n + shift) for n, accuracies in by_layers.items()])
            y = np.concatenate(list(by_layers.values()))
            face = "none" if hollow or arm == "base x2" else color
            axes.scatter(x, y, s=26, marker=marker, facecolors=face, edgecolors=color, label=NAMES[arm], linewidths=1)
        axes.legend(frameon=False, fontsize=7, labelcolor=theme.ink, loc="lower left")
        return self._drawn_on(axes)

    def plot_means(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TransferDisplay:
        """Draw lines through the means, each starting at the base, with the four gaps that the study explains."""
        axes = self._axes(ax, theme)
        base = float(np.mean(self.values["base"][0]))
        axes.axhline(base, color=theme.faint, lw=1, ls=":")
        lines: dict[str, dict[int, float]] = {}
        for arm, by_layers in self.values.items():
            if arm in ("base", "base x2"):
                continue
            marker, color, _ = self._style(arm, theme)
            lines[arm] = {0: base, **{n: float(np.mean(accuracies)) for n, accuracies in sorted(by_layers.items())}}
            axes.plot(list(lines[arm]), list(lines[arm].values()), color=color, marker=marker, ms=5, label=NAMES[arm])
        if "base x2" in self.values:
            twice = float(np.mean(self.values["base x2"][0]))
            axes.axhline(twice, color=theme.ink, lw=1, ls="--", label=NAMES["base x2"])
        self._gaps(axes, theme, lines, base)
        levels = [base, *(y for arm, line in lines.items() if arm != "random" for y in line.values())]
        span = max(max(levels) - min(levels), 0.02)
        # Random layers are far below all others: leave them out of the range, to show the other differences.
        axes.set_ylim(min(levels) - 0.9 * span, max(levels) + 0.3 * span)
        axes.legend(frameon=False, fontsize=7, labelcolor=theme.ink, loc="lower left")
        return self._drawn_on(axes)

    def _gaps(self, axes: Axes, theme: Theme, lines: Mapping[str, Mapping[int, float]], base: float) -> None:
        """Mark the gaps numbered in the published figure: 2 co-adaptation, 3 recovery, 4 specificity, 5 gain."""
        level = dict.fromkeys(range(8), base)
        frozen, tuned, other = (lines.get(arm) for arm in ("BnB", "BnB+", "AnB"))
        gaps = {"2": (level, frozen), "3": (frozen, tuned), "4": (frozen, other), "5": (level, lines.get("AnB+"))}
        for number, (upper, lower) in gaps.items():
            if upper is None or lower is None:
                continue
            x = sorted(upper.keys() & lower.keys())
            a, b = np.array([upper[n] for n in x]), np.array([lower[n] for n in x])
            if number in ("2", "4"):
                axes.fill_between(x, a, b, color=theme.faint, alpha=0.35, lw=0)
            widest = int(np.abs(a - b).argmax())
            middle = (float(a[widest] + b[widest])) / 2
            axes.text(x[widest] + 0.12, middle, number, color=theme.ink, fontsize=9, weight="bold", va="center")

    def _axes(self, ax: Axes | None, theme: Theme) -> Axes:
        axes = own_axes(ax, theme, 5.6, 4.6)
        axes.set_xticks(sorted({n for by_layers in self.values.values() for n in by_layers}))
        axes.set(xlabel="layers transferred, n", ylabel="accuracy on the target half's test images")
        return axes

    @staticmethod
    def _style(arm: str, theme: Theme) -> tuple[str, str, bool]:
        marker, color, hollow = STYLES[arm]
        return marker, theme.ink if color == "none" else color, hollow


FREEZING_STYLES: dict[str, tuple[str, str, str]] = {
    "kept": ("all layers pretrained, first n frozen", "o", "#3f76c4"),
    "moved": ("only first n pretrained, frozen", "D", "#c23b30"),
    "tuned": ("only first n pretrained, all tuned", "X", "#e88a7d"),
}
"""Arm -> legend label, marker, color."""


@dataclass
class FreezingDisplay(Display):
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
        return cls(_measured(values), list(scratch), advised)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> FreezingDisplay:
        """Draw a line through the means of each arm and a marker for each network."""
        axes = own_axes(ax, theme, 5.6, 4.2)
        if self.scratch:
            axes.axhline(float(np.mean(self.scratch)), color=theme.ink, ls="--", lw=1, label="no pretrained layers")
        for arm, by_layers in self.values.items():
            label, marker, color = FREEZING_STYLES[arm]
            means = [float(np.mean(accuracies)) for accuracies in by_layers.values()]
            axes.plot(list(by_layers), means, color=color, lw=1.4, label=label)
            x = np.concatenate([np.full(len(accuracies), n) for n, accuracies in by_layers.items()])
            axes.scatter(x, np.concatenate(list(by_layers.values())), s=24, marker=marker, color=color)
        if self.advised is not None:
            axes.axvline(self.advised, color=theme.ink, lw=1, ls=":")
        axes.set_xticks(sorted({n for by_layers in self.values.values() for n in by_layers}))
        axes.set(xlabel="layers, n", ylabel="accuracy on test images")
        axes.legend(frameon=False, fontsize=7, labelcolor=theme.ink)
        return self._drawn_on(axes)
