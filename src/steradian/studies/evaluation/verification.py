"""Verification metrics and curves of given image pairs, from a table of scores or a protocol such as LFW's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.metrics.checks import Floats
from steradian.plots import RocDisplay
from steradian.plots.report import Figure
from steradian.studies.evaluation.closed_set import interval

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
FEWEST_FOR_FOLDS = 20


def pair_numbers(
    scores: Floats, same: NDArray[np.bool_], folds: NDArray[np.intp] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Compute metrics of scored pairs [N]; also return notes on undefined ones.

    Args:
        folds: int [N]; None: ten contiguous ones (`metrics.contiguous_folds`).

    Raises:
        InputError: all pairs are genuine, or all are impostor.
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
        accuracy = metrics.fold_accuracy(scores, same, folds)
        numbers |= {"fold_accuracy": accuracy.mean, "fold_accuracy_standard_error": accuracy.spread}
    notes = tuple(
        f"TAR at FAR {point.far:g} is undefined: {len(parts.impostor):,} impostor pairs are too few to measure it."
        for point in points
        if math.isnan(point.tar)
    )
    return numbers, notes


def pairs_picture(scores: Floats, same: NDArray[np.bool_]) -> Figure:
    """Plot ROC and DET of scored pairs [N]."""
    return rates_picture({"pairs": metrics.ScoreCounts.of(scores, same)}, "Rates over all pairs.")


def rates_picture(counts: dict[str, metrics.ScoreCounts], caption: str) -> Figure:
    """Plot ROC and DET, one curve per name."""
    curves = {name: score_counts.roc() for name, score_counts in counts.items()}
    display = RocDisplay.from_rates(
        {name: (curve.false_positive_rate, curve.true_positive_rate) for name, curve in curves.items()}
    )
    panels = {"ROC": display.plot, "DET": display.plot_det}
    return Figure.of(panels, "ROC and DET", caption, width=4.5)
