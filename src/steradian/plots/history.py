"""Plot the training history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian.plots.theme import LIGHT, Display, Theme, legend, own_axes


@dataclass
class HistoryDisplay(Display):
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
        drawn = False
        for index, (name, runs) in enumerate(self.curves.items()):
            for seed, curve in enumerate(runs):
                if np.isnan(curve).all():
                    continue
                look = theme.line(index, len(self.curves))
                look |= {"lw": 1.5, "alpha": 1.0, "label": name} if seed == 0 else {"lw": 0.7, "alpha": 0.6}
                axes.plot(np.arange(1, len(curve) + 1), curve, **look)
                drawn = True
        axes.set(xlabel="epoch", ylabel=self.value.replace("_", " "))
        if self._spans_a_decade():
            axes.set_yscale("log")
        if drawn:
            legend(axes, theme)
        else:
            axes.text(0.5, 0.5, "no values", color=theme.ink, ha="center", transform=axes.transAxes)
        return self._drawn_on(axes)

    def _spans_a_decade(self) -> bool:
        """Return whether the losses differ so much between techniques that a log axis is needed."""
        shown = [curve for runs in self.curves.values() for curve in runs if not np.isnan(curve).all()]
        if not self.value.endswith("loss") or not shown:
            return False
        tops = [float(np.nanmax(curve)) for curve in shown]
        return min(float(np.nanmin(curve)) for curve in shown) > 0.0 and max(tops) > 10.0 * min(tops)
