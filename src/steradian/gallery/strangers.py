"""The threshold that at most a chosen share of strangers exceeds, in a gallery of its present size (FPIR)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError
from steradian.gallery.search.exact import top
from steradian.gallery.search.snapshot import Snapshot
from steradian.models.calibration import StrangerScores, Thresholds, nearest_size

FEWEST_IDENTITIES = 5
"""With fewer, a gallery's own images say nothing about strangers."""

FEWEST_OWN = 12
"""From this number on a gallery's own images alone tell about strangers, whatever they are compared with."""

NEXT = 5
"""Number of identities next to the best that a relative score looks at."""

ENOUGH_IDENTITIES = 50
"""From this number on the gallery's own images are counted; below, their distribution is extended to new identities."""

WIDENING = 1.12
"""Factor on the quantile of `predicted`: real scores have heavier tails than the normal distribution."""

LOWEST_PREDICTED = 0.01
"""Lowest rate for which `predicted` was measured."""

LARGEST_COSINE = 1.0 - 1e-4
"""Cosines above this one count as this one, so that their Fisher transform is finite."""

ASKED = 2000
"""Most of the gallery's own images that are asked as strangers."""

SCORES = 20_000_000
"""Most cosines that are computed to ask them, with 200 images asked at least."""

UNREACHABLE = 1.00001
"""A threshold that no cosine exceeds, rounding included."""


def own_tell(rate: float, images: int, identities: int) -> bool:
    """Return whether a gallery's own images alone tell which score a share ``rate`` of strangers exceeds."""
    counted = identities >= ENOUGH_IDENTITIES and math.floor(rate * number_asked(images)) >= 1
    return identities >= FEWEST_OWN and (counted or rate >= LOWEST_PREDICTED)


def number_asked(images: int) -> int:
    """Return how many of a gallery's ``images`` are asked as strangers."""
    return min(images, ASKED, max(200, SCORES // max(images, 1)))


@dataclass(frozen=True)
class StrangerThreshold:
    """A cosine that at most a share ``rate`` of strangers exceeds.

    Attributes:
        cosine: the threshold; `UNREACHABLE` where the rate cannot be kept. A relative one is for `relative_scores`.
        low, high: 95 % interval of the threshold, for other identities of the same kind; -1 and 1 where it does not
            rest on the gallery's own images.
        identities: size of the gallery that it is for.
        measured_on: what it rests on, or why there is none.
        relative: whether the threshold is for `relative_scores`, and not for cosines.
    """

    rate: float
    cosine: float
    low: float
    high: float
    identities: int
    measured_on: str
    relative: bool = False


@dataclass(frozen=True)
class OwnStrangers:
    """A gallery's own images, asked as strangers.

    Attributes:
        size: by which a change of the gallery is noticed.
        strategy: what they are compared with: the "nearest" image, "blended" or not, or the "mean" of each other
            identity.
        scores: [A] highest cosine of each asked image, or its relative score; empty where there are too few identities.
        identities, images: numbers of both in the gallery.
        relative: whether the scores are relative.
    """

    size: int
    strategy: str
    scores: NDArray[np.float64]
    identities: int
    images: int
    relative: bool = False

    @classmethod
    def of(cls, snapshot: Snapshot, size: int, strategy: str = "nearest", *, relative: bool = False) -> OwnStrangers:
        """Ask the images of ``snapshot``; relative scores need `FEWEST_OWN` identities."""
        scores = own_scores(snapshot, strategy, relative=relative)
        return cls(size, strategy, scores, snapshot.present, len(snapshot.ids), relative)


def stranger_threshold(
    rate: float, asked: OwnStrangers, measured: Sequence[StrangerScores], pairs: Thresholds
) -> StrangerThreshold:
    """Return the threshold for strangers at a false-positive identification rate.

    With `ENOUGH_IDENTITIES` the gallery's own images are counted. Below that number, `predicted` extends their
    distribution to new identities, and its mean with the model's measurement on unseen classes, on Fisher's scale,
    is the threshold. Where neither is there, it is a bound from the model's pairs: a stranger exceeds the threshold
    of FAR rate / M against one of M images at most at the rate.

    Args:
        rate: the share of strangers that may be given any name, in (0, 1).
        asked: the gallery.
        measured, pairs: what the model knows.

    Raises:
        InputError: the rate is outside (0, 1), or neither gallery nor model say anything about strangers.
    """
    if not 0.0 < rate < 1.0:
        raise InputError(f"strangers is a share and must be above 0 and below 1, but is {rate}.")
    own, identities = asked.scores, asked.identities
    counted = identities >= ENOUGH_IDENTITIES and math.floor(rate * len(own)) >= 1
    asks_own = counted or rate >= LOWEST_PREDICTED
    model = nearest_size(measured, identities, asked.strategy) if not asked.relative else None
    answers: list[tuple[float, str]] = []
    if counted:
        answers.append((_counted(rate, own), f"{len(own)} images of the gallery, asked as strangers"))
    elif asks_own and len(own):
        answers.append((predicted(rate, own, identities), f"{len(own)} images of the gallery, asked as strangers"))
    if model is not None and not counted:
        answers.append((model.cosine(rate, identities), model.measured_on))
    if not answers and asked.strategy != "blended" and not asked.relative:
        answers = _from_pairs(rate, asked.images, pairs)
    if not answers:
        if len(own):
            alone = asked.relative or asked.strategy == "blended"
            reason = (
                f"nothing: {len(own)} images of the gallery cannot tell a rate of {rate:g}, and the model was not "
                f"{'measured with blended images' if alone else 'calibrated'}"
            )
            return StrangerThreshold(rate, UNREACHABLE, UNREACHABLE, UNREACHABLE, identities, reason, asked.relative)
        raise InputError(
            "nothing is known about strangers: the model was not calibrated, and the gallery has fewer than "
            f"{FEWEST_IDENTITIES} identities. Enroll more, or give a threshold."
        )
    level = float(np.mean([_fisher(cosine) for cosine, _ in answers]))
    measured_on = " and ".join(dict.fromkeys(origin for _, origin in answers))
    if max(cosine for cosine, _ in answers) >= LARGEST_COSINE:
        reason = f"{measured_on}, by which strangers reach a cosine of 1"
        return StrangerThreshold(rate, UNREACHABLE, UNREACHABLE, UNREACHABLE, identities, reason, asked.relative)
    error = 1.96 * _standard_error(rate, own if asks_own else own[:0], identities)
    low, high = math.tanh(level - error), math.tanh(level + error)
    return StrangerThreshold(rate, math.tanh(level), low, high, identities, measured_on, asked.relative)


def relative_scores(similarities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return s_1 - (s_2 + ... + s_6) / 10 for the ``similarities`` [A, K] to identities, descending; [A].

    A picture that is similar to many identities, as blurred or plain ones are, must be more similar to the best. This
    is half of adaptive score normalization (Matejka et al. 2017) without its division, on the side of the query.
    With fewer than two identities nothing is taken away.
    """
    following = similarities[:, 1 : NEXT + 1]
    taken = 0.5 * following.mean(axis=1) if following.shape[1] else 0.0
    return np.asarray(similarities[:, 0] - taken, dtype=np.float64)


def relative_limit(threshold: float, similarities: Sequence[float]) -> float:
    """Return the cosine that the best of ``similarities``, descending, must exceed for a relative ``threshold``."""
    if threshold >= UNREACHABLE or not similarities:
        return threshold
    scores = np.array(similarities)[None]
    return threshold + float(scores[0, 0] - relative_scores(scores)[0])


def predicted(rate: float, scores: NDArray[np.float64], identities: int) -> float:
    """Return the cosine that a share ``rate`` of the scores of new identities exceeds.

    Formula: tanh(m + w t sqrt(1 + 1/N) s), where m and s are mean and deviation of artanh(score), t is the quantile
    of Student's distribution with N - 1 degrees of freedom for N identities, and w is `WIDENING`. Without the widening
    this is the prediction limit of a normal distribution (Hahn and Meeker 1991); artanh is Fisher's (1915).
    """
    from scipy.stats import t

    levels = np.arctanh(np.minimum(scores, LARGEST_COSINE))
    quantile = WIDENING * float(t.ppf(1.0 - rate, identities - 1)) * math.sqrt(1.0 + 1.0 / identities)
    return math.tanh(float(levels.mean()) + quantile * float(levels.std()))


def _fisher(cosine: float) -> float:
    return math.atanh(max(-LARGEST_COSINE, min(cosine, LARGEST_COSINE)))


def _counted(rate: float, scores: NDArray[np.float64]) -> float:
    position = len(scores) - math.floor(rate * len(scores)) - 1
    return float(np.partition(scores, position)[position])


def _standard_error(rate: float, scores: NDArray[np.float64], identities: int) -> float:
    """Return the standard error of a normal quantile on Fisher's scale; images of one identity count as one."""
    if len(scores) == 0:
        return math.inf
    from scipy.stats import norm

    deviation = float(np.arctanh(np.minimum(scores, LARGEST_COSINE)).std())
    return deviation * math.sqrt((1.0 + float(norm.ppf(1.0 - rate)) ** 2 / 2.0) / identities)


def _from_pairs(rate: float, images: int, pairs: Thresholds) -> list[tuple[float, str]]:
    """Return the threshold of the pair rate rate / images, straight in log FAR between and beyond the measured ones."""
    if not len(pairs):
        return []
    wanted = math.log(rate / max(images, 1))
    known = sorted((math.log(one.far), one.cosine) for one in pairs)
    logs, cosines = zip(*known, strict=True)
    if wanted >= logs[0] or len(known) == 1:
        return [(float(np.interp(wanted, logs, cosines)), f"pairs: {pairs[0].measured_on}")]
    slope = (cosines[1] - cosines[0]) / (logs[1] - logs[0])
    return [(cosines[0] + slope * (wanted - logs[0]), f"pairs: {pairs[0].measured_on}")]


def own_scores(
    snapshot: Snapshot, strategy: str = "nearest", seed: int = 0, *, relative: bool = False
) -> NDArray[np.float64]:
    """Return the highest cosine [A] of images of the gallery to other identities, or their relative scores.

    Empty for fewer than `FEWEST_IDENTITIES`, or `FEWEST_OWN` for relative scores.
    """
    images = len(snapshot.ids)
    if snapshot.present < (FEWEST_OWN if relative else FEWEST_IDENTITIES):
        return np.zeros(0)
    asked = number_asked(images)
    chosen = np.random.default_rng(seed).permutation(images)[:asked]
    probes, own = snapshot.vectors[chosen], snapshot.identities[chosen]
    vectors, identities = snapshot.compared(strategy)
    if relative:
        order = np.argsort(identities, kind="stable")
        highest = highest_of_each(probes, vectors[order], identities[order])
        highest[np.arange(asked), np.searchsorted(np.unique(identities), own)] = -np.inf
        return relative_scores(descending(highest, NEXT + 1))
    return strangers(probes, own, vectors, identities)


def highest_of_each(
    probes: NDArray[np.float32], vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the highest cosine of each of ``probes`` [A, D] to each label, [A, C]; ``labels`` [N] are sorted."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    highest = np.empty((len(probes), len(starts)), np.float32)
    for start in range(0, len(probes), 128):
        rows = slice(start, start + 128)
        highest[rows] = np.maximum.reduceat(probes[rows] @ vectors.T, starts, axis=1)
    return highest


def descending(scores: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the ``count`` highest of ``scores`` [A, C] in each row, or all but one if there are no more."""
    count = min(count, scores.shape[1] - 1)
    return -np.sort(np.partition(-scores, count - 1, axis=1)[:, :count], axis=1)


def strangers(
    probes: NDArray[np.float32],
    own: NDArray[np.int64],
    vectors: NDArray[np.float32],
    identities: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the highest cosine [A] of each of the ``probes`` [A, D] to one of the ``vectors`` of another identity.

    Args:
        own, identities: [A] and [N], whose the probes and the vectors are.
    """
    most = int(np.bincount(np.unique(identities, return_inverse=True)[1]).max())
    highest = np.empty(len(probes))
    for start in range(0, len(probes), 64):
        rows = slice(start, start + 64)
        # Of most + 1 vectors at least one is of another identity.
        scores, neighbors = top(vectors, probes[rows], most + 1)
        other = identities[neighbors] != own[rows][:, None]
        highest[rows] = np.where(other, scores, -np.inf).max(axis=1)
    return highest
