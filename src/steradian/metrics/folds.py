"""Compute pair-verification accuracy over folds, by the LFW definition or by the rules of other codebases.

The threshold for each fold is the best one on the other folds (Huang et al. 2007, view 2).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_flags, as_scores

Rule = Literal["exact", "insightface", "facex-zoo"]


class FoldAccuracy(NamedTuple):
    """Mean accuracy over folds with its spread, and the accuracy [F] and threshold [F] of each fold.

    ``spread`` is the standard error std(ddof=1) / sqrt(F) of the mean, as LFW reports it; with "insightface" it is
    std(ddof=0), as that code prints, which is about sqrt(F) times as large.
    """

    mean: float
    spread: float
    accuracies: Floats
    thresholds: Floats


def contiguous_folds(count: int, folds: int = 10) -> NDArray[np.intp]:
    """Return the fold [N] of each of ``count`` pairs in file order; fold sizes differ by one at most."""
    if not 2 <= folds <= count:
        raise InputError(f"{count} pairs cannot make {folds} folds: use 2 or more, at most one per pair.")
    sizes = np.full(folds, count // folds) + (np.arange(folds) < count % folds)
    return np.repeat(np.arange(folds), sizes)


def fold_accuracy(
    scores: ArrayLike, same: ArrayLike, folds: ArrayLike | None = None, rule: Rule = "exact"
) -> FoldAccuracy:
    """Compute the verification accuracy of pairs by cosine over folds.

    Args:
        scores: cosines [N].
        same: bool [N], whether both images of a pair show one identity.
        folds: int [N], the fold of each pair; None means ten equal folds in order (`contiguous_folds`).
        rule: how the threshold of a fold is chosen on the other folds.
            "exact": any threshold; if several are equally good, the middle of the first (strictest) range.
            "insightface": as its verification.py: squared distances 2 - 2 cos against thresholds 0, 0.01, ... 3.99,
            same if less; the smallest of the best thresholds.
            "facex-zoo": the best TPR - FPR on 1,000 even steps up from the lowest score; a score equal to the
            threshold always counts as an error.

    Raises:
        InputError: NaN scores, unequal lengths, fewer than two folds.
    """
    cosine = as_scores(scores).astype(np.float64)
    flags = as_flags(same, len(cosine), "same")
    if not np.isfinite(cosine).all():
        raise InputError("scores contain infinity; every score must be finite.")
    fold_ids = contiguous_folds(len(cosine)) if folds is None else np.asarray(folds)
    if fold_ids.shape != cosine.shape:
        raise InputError(f"{len(cosine)} scores came with folds {list(fold_ids.shape)}; give one per score.")
    names = np.unique(fold_ids)
    if len(names) < 2:
        raise InputError("one fold leaves no pairs to choose a threshold on; give two or more folds.")
    if rule not in RULES:
        raise InputError(f"rule must be one of {', '.join(map(repr, RULES))}, but is {rule!r}.")
    choose_threshold, measure = RULES[rule]
    thresholds = np.array([choose_threshold(cosine[fold_ids != name], flags[fold_ids != name]) for name in names])
    accuracies = np.array(
        [
            measure(cosine[fold_ids == name], flags[fold_ids == name], threshold)
            for name, threshold in zip(names, thresholds, strict=True)
        ]
    )
    spread = accuracies.std() if rule == "insightface" else accuracies.std(ddof=1) / math.sqrt(len(names))
    return FoldAccuracy(float(accuracies.mean()), float(spread), accuracies, thresholds)


def _exact_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    values = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    # Candidate thresholds lie between neighboring scores and beyond both ends; a pair is "same" above it.
    thresholds = np.concatenate([[values[0] - 1.0], (values[1:] + values[:-1]) / 2.0, [values[-1] + 1.0]])
    correct = len(genuine) - np.searchsorted(genuine, thresholds) + np.searchsorted(impostor, thresholds)
    best = np.flatnonzero(correct == correct.max())[::-1]
    run = best[: int(np.argmax(np.append(np.diff(best) != -1, True))) + 1]
    return float(thresholds[run[len(run) // 2]])


def _accuracy_above(scores: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(np.mean((scores > threshold) == same))


def _insightface_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    grid = np.arange(0.0, 4.0, 0.01)
    distances = 2.0 - 2.0 * scores
    near, far = np.sort(distances[same]), np.sort(distances[~same])
    correct = np.searchsorted(near, grid) + len(far) - np.searchsorted(far, grid)
    return float(grid[int(np.argmax(correct))])


def _accuracy_by_distance(scores: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(np.mean((2.0 - 2.0 * scores < threshold) == same))


def _facex_zoo_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    grid = scores.min() + (scores.max() - scores.min()) / 1000 * np.arange(1, 1001)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    tpr = 1.0 - np.searchsorted(genuine, grid, side="right") / max(1, len(genuine))
    fpr = 1.0 - np.searchsorted(impostor, grid, side="right") / max(1, len(impostor))
    return float(grid[int(np.argmax(tpr - fpr))])


def _accuracy_strict(scores: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(np.mean(np.where(same, scores > threshold, scores < threshold)))


RULES = {
    "exact": (_exact_threshold, _accuracy_above),
    "insightface": (_insightface_threshold, _accuracy_by_distance),
    "facex-zoo": (_facex_zoo_threshold, _accuracy_strict),
}
