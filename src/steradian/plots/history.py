"""Plot the training history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian.plots.margins import LINES
from steradian.plots.theme import LIGHT, Theme, legend, own_axes


@dataclass
class HistoryDisplay:
    """One value per epoch for each technique, with one line per seed.

    Attributes:
        value: the history column to draw.
        curves: name -> one array [epochs] per seed; NaN where a value is missing.
    """

    value: str
    curves: dict[str, list[NDArray[np.float64]]]

    @classmethod
    def from_histories(
        cls, histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], value: str = "train_loss"
    ) -> HistoryDisplay:
        """Create from history rows: name -> one history per seed."""

        def column(history: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
            return np.array([np.nan if row.get(value) in (None, "") else float(row[value]) for row in history])

        return cls(value, {name: [column(history) for history in runs] for name, runs in histories.items()})

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> HistoryDisplay:
        """Draw the first seed of each technique as a labeled line, and the other seeds as thin lines."""
        axes = own_axes(ax, theme, 5.6, 3.6)
        drawn = 0
        for index, (name, runs) in enumerate(self.curves.items()):
            for seed, curve in enumerate(runs):
                if np.isnan(curve).all():
                    continue
                axes.plot(
                    np.arange(1, len(curve) + 1),
                    curve,
                    color=theme.color(index, len(self.curves)),
                    ls=LINES[index % len(LINES)],
                    lw=1.5 if seed == 0 else 0.7,
                    alpha=1.0 if seed == 0 else 0.6,
                    label=name if seed == 0 else None,
                )
                drawn += 1
        axes.set_xlabel("epoch")
        axes.set_ylabel(self.value.replace("_", " "))
        if self._spans_a_decade():
            axes.set_yscale("log")
        if drawn:
            legend(axes, theme)
        else:
            axes.text(0.5, 0.5, "no values", color=theme.ink, ha="center", transform=axes.transAxes)
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def _spans_a_decade(self) -> bool:
        """Return whether the losses differ so much between techniques that a log axis is needed."""
        if not self.value.endswith("loss"):
            return False
        shown = [curve for runs in self.curves.values() for curve in runs if not np.isnan(curve).all()]
        tops = [float(np.nanmax(curve)) for curve in shown]
        lowest = min((float(np.nanmin(curve)) for curve in shown), default=0.0)
        return lowest > 0.0 and max(tops) > 10.0 * min(tops)
