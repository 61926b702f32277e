"""Plot one metric of several techniques, with every seed and the interval of the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from steradian.metrics import Interval, t_interval
from steradian.plots.theme import LIGHT, Display, Theme, own_axes


@dataclass
class IntervalsDisplay(Display):
    """Values of one metric by technique.

    Attributes:
        title: what the values are.
        values: name -> one value per seed.
        intervals: name -> mean and 95 % interval (Student's t) over the seeds.
    """

    title: str
    values: dict[str, list[float]]
    intervals: dict[str, Interval]

    @classmethod
    def from_values(cls, title: str, values: Mapping[str, Sequence[float]]) -> IntervalsDisplay:
        """Create from one value per seed for each name."""
        nonempty = {name: list(seeds) for name, seeds in values.items() if len(seeds)}
        return cls(title, nonempty, {name: t_interval(seeds) for name, seeds in nonempty.items()})

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> IntervalsDisplay:
        """Draw one row per technique: open points are seeds, the filled one is their mean, the line its interval."""
        axes = own_axes(ax, theme, 5.6, 0.9 + 0.36 * len(self.values))
        for row, (name, seeds) in enumerate(self.values.items()):
            look, interval = theme.point(row, len(self.values)), self.intervals[name]
            color = look["color"]
            if interval.low == interval.low:
                axes.plot([interval.low, interval.high], [row, row], color=color, lw=2.2)
            if len(seeds) > 1:
                axes.scatter(seeds, [row] * len(seeds), s=20, facecolors="none", edgecolors=[color], linewidths=1)
            axes.scatter([interval.mean], [row], s=46, zorder=3, **look)
        axes.set_yticks(range(len(self.values)), list(self.values))
        axes.set_ylim(len(self.values) - 0.5, -0.5)
        axes.grid(axis="x", color=theme.faint, lw=0.5)
        axes.set_axisbelow(True)
        axes.set_title(self.title, color=theme.ink, fontsize=10)
        return self._drawn_on(axes)
