"""Verification numbers and curves of given pairs of images: a table of scores, or a protocol such as LFW's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.metrics.checks import Floats
from steradian.plots import RocDisplay
from steradian.plots.report import Figure
from steradian.plots.theme import Panel, small_multiples
from steradian.studies.closed import interval

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
FEWEST_FOR_FOLDS = 20


def pair_numbers(
    scores: Floats, same: NDArray[np.bool_], folds: NDArray[np.intp] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Numbers of scored pairs [N], and which of them do not exist, in words.

    Args:
        folds: int [N]; None: ten contiguous ones (`metrics.contiguous_folds`).

    Raises:
        InputError: all pairs are of one kind.
    """
    counts = metrics.ScoreCounts.of(scores, same)
    parts = metrics.PairScores(scores[same], scores[~same])
    equal = counts.equal_error()
    points = [metrics.tar_at_far(parts, far) for far in FARS]
    genuine = len(parts.genuine)
    accepted = {point.far: round(point.tar * genuine) for point in points if not math.isnan(point.tar)}
    numbers: dict[str, Any] = {
        "auc": counts.auc(),
        "eer": equal.rate,
        "eer_threshold": equal.threshold,
        "tar_at_far": {f"{point.far:.0e}": point.tar for point in points},
        "tar_interval_at_far": {f"{far:.0e}": interval(count, genuine) for far, count in accepted.items()},
        "threshold_at_far": {f"{point.far:.0e}": point.threshold for point in points},
        "genuine_pairs": genuine,
        "impostor_pairs": len(parts.impostor),
    }
    if len(scores) >= FEWEST_FOR_FOLDS:
        found = metrics.fold_accuracy(scores, same, folds)
        numbers |= {"fold_accuracy": found.mean, "fold_accuracy_standard_error": found.spread}
    notes = tuple(
        f"TAR at FAR {point.far:g} has no number: {len(parts.impostor):,} impostor pairs cannot support it."
        for point in points
        if math.isnan(point.tar)
    )
    return numbers, notes


def pairs_picture(scores: Floats, same: NDArray[np.bool_]) -> Figure:
    """ROC and DET of scored pairs [N]."""
    return rates_picture({"pairs": metrics.ScoreCounts.of(scores, same)}, "Of all pairs.")


def rates_picture(counts: dict[str, metrics.ScoreCounts], caption: str) -> Figure:
    """ROC and DET, a line for each name."""
    curves = {name: found.roc() for name, found in counts.items()}
    display = RocDisplay.from_rates(
        {name: (curve.false_positive_rate, curve.true_positive_rate) for name, curve in curves.items()}
    )
    panels: dict[str, Panel] = {"ROC": display.plot, "DET": display.plot_det}
    return Figure(small_multiples(panels, "ROC and DET", columns=2, width=4.5), caption)
