"""Draw pictures with display classes: ``X.from_…(…)`` computes, ``.plot(ax=None)`` draws and returns self."""

from steradian.plots.angles import AnglesDisplay
from steradian.plots.boundaries import DecisionBoundaryDisplay
from steradian.plots.confusion import ConfusionDisplay
from steradian.plots.contact_sheet import ViewsDisplay
from steradian.plots.data_overview import ClassSizesDisplay, ExamplesDisplay
from steradian.plots.embedding import EmbeddingDisplay
from steradian.plots.freezing import FreezingDisplay
from steradian.plots.history import HistoryDisplay
from steradian.plots.intervals import IntervalsDisplay
from steradian.plots.margins import TargetLogitDisplay
from steradian.plots.mistakes import MistakesDisplay
from steradian.plots.rates import PrecisionRecallDisplay, ReliabilityDisplay, RocDisplay
from steradian.plots.relations import ClassRelationsDisplay
from steradian.plots.sphere import SphereDisplay
from steradian.plots.theme import DARK, LIGHT, Theme
from steradian.plots.transfer import TransferDisplay

__all__ = [
    "DARK", "LIGHT", "AnglesDisplay", "ClassRelationsDisplay", "ClassSizesDisplay", "ConfusionDisplay",
    "DecisionBoundaryDisplay", "EmbeddingDisplay", "ExamplesDisplay", "FreezingDisplay", "HistoryDisplay",
    "IntervalsDisplay", "MistakesDisplay", "PrecisionRecallDisplay", "ReliabilityDisplay", "RocDisplay",
    "SphereDisplay", "TargetLogitDisplay", "Theme", "TransferDisplay", "ViewsDisplay",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
