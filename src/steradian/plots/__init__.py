"""Draw pictures with display classes: ``X.from_…(…)`` computes, ``.plot(ax=None)`` draws and returns self."""

from steradian.plots.angles import AnglesDisplay
from steradian.plots.confusion import ConfusionDisplay
from steradian.plots.embedding import EmbeddingDisplay
from steradian.plots.evidence import EvidenceDisplay
from steradian.plots.history import HistoryDisplay
from steradian.plots.images import ClassSizesDisplay, ExamplesDisplay, MistakesDisplay, ViewsDisplay
from steradian.plots.intervals import IntervalsDisplay
from steradian.plots.layers import FreezingDisplay, TransferDisplay
from steradian.plots.loss_picture import DecisionBoundaryDisplay
from steradian.plots.margins import TargetLogitDisplay
from steradian.plots.rates import PrecisionRecallDisplay, ReliabilityDisplay, RocDisplay
from steradian.plots.relations import ClassRelationsDisplay
from steradian.plots.sphere import SphereDisplay
from steradian.plots.theme import DARK, LIGHT, Theme

__all__ = [
    "DARK", "LIGHT", "AnglesDisplay", "ClassRelationsDisplay", "ClassSizesDisplay", "ConfusionDisplay",
    "DecisionBoundaryDisplay", "EmbeddingDisplay", "EvidenceDisplay", "ExamplesDisplay", "FreezingDisplay",
    "HistoryDisplay", "IntervalsDisplay", "MistakesDisplay", "PrecisionRecallDisplay", "ReliabilityDisplay",
    "RocDisplay", "SphereDisplay", "TargetLogitDisplay", "Theme", "TransferDisplay", "ViewsDisplay",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
