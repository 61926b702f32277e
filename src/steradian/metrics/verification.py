"""Compute verification error rates of pairs scored by cosine, and their accuracy over folds.

The threshold of a fold is the best one on the other folds (Huang et al. 2007, view 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_flags, as_labels, as_rows, as_scores, as_share, unit

Rule = Literal["exact", "insightface", "facex-zoo"]


@dataclass(frozen=True)
class PairScores:
    """Cosines of pairs of items: ``genuine`` [G] of the same class, ``impostor`` [I] of different classes."""

    genuine: Floats
    impostor: Floats


def pair_scores(embeddings: ArrayLike, labels: ArrayLike, max_items: int = 5000, seed: int = 0) -> PairScores:
    """Compute the cosines of all pairs of ``embeddings`` [N, D] with int ``labels`` [N].

    Above ``max_items`` a seeded random sample of that many items is scored (12.5 million pairs at 5,000).
    """
    labels = as_labels(labels)
    vectors = unit(as_rows(embeddings, labels, "embeddings")).astype(np.float32)
    if len(labels) > max_items:
        sample = np.sort(np.random.default_rng(seed).choice(len(labels), max_items, replace=False))
        vectors, labels = vectors[sample], labels[sample]
    genuine, impostor = [], []
    for row in range(len(labels) - 1):
        cosine = vectors[row + 1 :] @ vectors[row]
        same = labels[row + 1 :] == labels[row]
        genuine.append(cosine[same])
        impostor.append(cosine[~same])
    empty = np.zeros(0, dtype=np.float32)
    return PairScores(np.concatenate([*genuine, empty]), np.concatenate([*impostor, empty]))


def _checked(scores: PairScores) -> PairScores:
    for name, values in (("genuine", scores.genuine), ("impostor", scores.impostor)):
        if len(values) == 0:
            raise InputError(f"there are no {name} pairs: verification needs pairs of one and of two classes.")
        if np.isnan(values).any():
            raise InputError(f"a {name} score is NaN; every score must be a number.")
    return scores


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold with its false- and true-accept rate; NaN if there are too few impostors for the rate."""

    far: float
    tar: float
    threshold: float


def impostor_threshold(impostor: ArrayLike, far: float) -> float:
    """Return the score that at most a share ``far`` of impostors [I] exceeds: the (floor(far I) + 1)-th highest.

    The result is NaN if no impostor may be accepted (I < 1 / far), and -inf if all may.

    Raises:
        InputError: a score is NaN, or the rate is outside (0, 1).
    """
    scores = as_scores(impostor, "impostor")
    count = len(scores)
    # For rates such as 1e-3, which binary cannot represent, far * I can fall just below a whole number.
    allowed = math.floor(as_share(far, "far") * count * (1 + 1e-12))
    if allowed < 1:
        return math.nan
    position = count - allowed - 1
    return float(np.partition(scores, position)[position]) if position >= 0 else -math.inf


def tar_at_far(scores: PairScores, far: float) -> OperatingPoint:
    """Compute the exact true-accept rate at a false-accept rate of at most ``far``, without interpolation.

    The threshold is `impostor_threshold`; a pair is accepted if its score is strictly higher. The result is NaN if no
    impostor may be accepted.
    """
    _checked(scores)
    threshold = impostor_threshold(scores.impostor, far)
    if math.isnan(threshold):
        return OperatingPoint(far, math.nan, math.nan)
    return OperatingPoint(far, float(np.mean(scores.genuine > threshold)), threshold)


def equal_error_rate(scores: PairScores) -> OperatingPoint:
    """Compute the rate at which false accepts equal false rejects, and its threshold.

    Both rates are step functions that may never be equal: the threshold is the observed score at which they are
    closest, and the rate is their mean there. ``far`` is that rate and ``tar`` is 1 minus it.
    """
    _checked(scores)
    genuine, impostor = np.sort(scores.genuine), np.sort(scores.impostor)
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    rejected = np.searchsorted(genuine, thresholds, side="right") / len(genuine)
    accepted = 1.0 - np.searchsorted(impostor, thresholds, side="right") / len(impostor)
    best = int(np.argmin(np.abs(rejected - accepted)))
    rate = float(rejected[best] + accepted[best]) / 2.0
    return OperatingPoint(rate, 1.0 - rate, float(thresholds[best]))


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
    choose_threshold, are_right = RULES[rule]
    thresholds = np.array([choose_threshold(cosine[fold_ids != name], flags[fold_ids != name]) for name in names])
    chosen = [(fold_ids == name, threshold) for name, threshold in zip(names, thresholds, strict=True)]
    accuracies = np.array([np.mean(are_right(cosine[fold], flags[fold], threshold)) for fold, threshold in chosen])
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


def _insightface_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    grid = np.arange(0.0, 4.0, 0.01)
    distances = 2.0 - 2.0 * scores
    near, far = np.sort(distances[same]), np.sort(distances[~same])
    correct = np.searchsorted(near, grid) + len(far) - np.searchsorted(far, grid)
    return float(grid[int(np.argmax(correct))])


def _facex_zoo_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    grid = scores.min() + (scores.max() - scores.min()) / 1000 * np.arange(1, 1001)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    tpr = 1.0 - np.searchsorted(genuine, grid, side="right") / max(1, len(genuine))
    fpr = 1.0 - np.searchsorted(impostor, grid, side="right") / max(1, len(impostor))
    return float(grid[int(np.argmax(tpr - fpr))])


Flags = NDArray[np.bool_]
RULES: dict[str, tuple[Callable[[Floats, Flags], float], Callable[[Floats, Flags, float], Flags]]] = {
    "exact": (_exact_threshold, lambda scores, same, threshold: (scores > threshold) == same),
    "insightface": (_insightface_threshold, lambda scores, same, threshold: (2.0 - 2.0 * scores < threshold) == same),
    "facex-zoo": (
        _facex_zoo_threshold,
        lambda scores, same, threshold: np.where(same, scores > threshold, scores < threshold),
    ),
}
"""How each rule chooses a threshold, and which pairs are right at it."""
