"""Compute verification error rates over pairs of embeddings, scored by cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_labels, as_rows, as_scores, as_share, unit


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
