"""Accuracy of same-or-different over folds, as LFW defines it, and as other codebases compute it, by name.

In each fold the threshold that is best on the other folds decides the pairs of this one (Huang et al. 2007, view 2).
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
    """Mean over folds, how far it can be trusted, and each fold's accuracy [F] and threshold [F].

    ``spread`` is the standard error std(ddof=1) / sqrt(F) of the mean, as LFW reports it; with "insightface" it is what
    that code prints, std(ddof=0), which is about sqrt(F) times as large.
    """

    mean: float
    spread: float
    accuracies: Floats
    thresholds: Floats


def contiguous_folds(count: int, folds: int = 10) -> NDArray[np.intp]:
    """Fold [N] of each of ``count`` pairs in the order of the file: equal parts, the first ones larger by one."""
    if not 2 <= folds <= count:
        raise InputError(f"{count} pairs cannot make {folds} folds.")
    sizes = np.full(folds, count // folds) + (np.arange(folds) < count % folds)
    return np.repeat(np.arange(folds), sizes)


def fold_accuracy(
    scores: ArrayLike, same: ArrayLike, folds: ArrayLike | None = None, rule: Rule = "exact"
) -> FoldAccuracy:
    """Accuracy of pairs by cosine over folds.

    Args:
        scores: cosines [N].
        same: bool [N], whether a pair is of one identity.
        folds: int [N], the fold of each pair; None: ten equal ones in order (`contiguous_folds`).
        rule: how the threshold of a fold is chosen on the others.
            "exact": any threshold; of several that are equally good the middle one of the first (strictest) range.
            "insightface": verification.py: squared distances 2 - 2 cos against 0, 0.01, ... 3.99, same if less; the
            smallest of the best.
            "facex-zoo": 1,000 even steps up from the lowest score, by TPR - FPR; a score equal to the threshold is
            wrong either way.

    Raises:
        InputError: NaN scores, unequal lengths, fewer than two folds.
    """
    cosine = as_scores(scores).astype(np.float64)
    flags = as_flags(same, len(cosine), "same")
    if not np.isfinite(cosine).all():
        raise InputError("scores hold infinity: thresholds are sought between scores.")
    of_fold = contiguous_folds(len(cosine)) if folds is None else np.asarray(folds)
    if of_fold.shape != cosine.shape:
        raise InputError(f"{len(cosine)} scores came with folds {list(of_fold.shape)}; one each is needed.")
    names = np.unique(of_fold)
    if len(names) < 2:
        raise InputError("one fold leaves no pairs to choose a threshold on; two or more are needed.")
    if rule not in RULES:
        raise InputError(f"rule must be one of {', '.join(map(repr, RULES))}, but is {rule!r}.")
    choose, judge = RULES[rule]
    thresholds = np.array([choose(cosine[of_fold != name], flags[of_fold != name]) for name in names])
    found = [
        judge(cosine[of_fold == name], flags[of_fold == name], threshold)
        for name, threshold in zip(names, thresholds, strict=True)
    ]
    accuracies = np.array(found)
    spread = accuracies.std() if rule == "insightface" else accuracies.std(ddof=1) / math.sqrt(len(names))
    return FoldAccuracy(float(accuracies.mean()), float(spread), accuracies, thresholds)


def _exact(scores: Floats, same: NDArray[np.bool_]) -> float:
    values = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    # Between two neighboring scores, and beyond both ends; same if above.
    edges = np.concatenate([[values[0] - 1.0], (values[1:] + values[:-1]) / 2.0, [values[-1] + 1.0]])
    right = len(genuine) - np.searchsorted(genuine, edges) + np.searchsorted(impostor, edges)
    best = np.flatnonzero(right == right.max())[::-1]
    run = best[: int(np.argmax(np.append(np.diff(best) != -1, True))) + 1]
    return float(edges[run[len(run) // 2]])


def _above(scores: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(np.mean((scores > threshold) == same))


def _insightface(scores: Floats, same: NDArray[np.bool_]) -> float:
    grid = np.arange(0.0, 4.0, 0.01)
    distances = 2.0 - 2.0 * scores
    near, far = np.sort(distances[same]), np.sort(distances[~same])
    right = np.searchsorted(near, grid) + len(far) - np.searchsorted(far, grid)
    return float(grid[int(np.argmax(right))])


def _nearer(scores: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(np.mean((2.0 - 2.0 * scores < threshold) == same))


def _facex_zoo(scores: Floats, same: NDArray[np.bool_]) -> float:
    grid = scores.min() + (scores.max() - scores.min()) / 1000 * np.arange(1, 1001)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    tpr = 1.0 - np.searchsorted(genuine, grid, side="right") / max(1, len(genuine))
    fpr = 1.0 - np.searchsorted(impostor, grid, side="right") / max(1, len(impostor))
    return float(grid[int(np.argmax(tpr - fpr))])


def _strictly(scores: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    return float(np.mean(np.where(same, scores > threshold, scores < threshold)))


RULES = {"exact": (_exact, _above), "insightface": (_insightface, _nearer), "facex-zoo": (_facex_zoo, _strictly)}
