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

FEWEST_IDENTITIES, FEWEST_IMAGES = 5, 20
"""With fewer, a gallery's own images say nothing about strangers."""

ENOUGH_IDENTITIES = 50
"""From this number on the gallery's own images decide alone; below, the model's measurement is a lower limit."""

ASKED = 2000
"""Most of the gallery's own images that are asked as strangers."""

SCORES = 20_000_000
"""Most cosines that are computed to ask them, with 200 images asked at least."""


UNREACHABLE = 1.00001
"""A threshold that no cosine exceeds, rounding included."""


@dataclass(frozen=True)
class StrangerThreshold:
    """A cosine that at most a share ``rate`` of strangers exceeds.

    Attributes:
        cosine: the threshold; `UNREACHABLE` where the rate cannot be kept.
        identities: size of the gallery that it is for.
        measured_on: what it rests on, or why there is none.
    """

    rate: float
    cosine: float
    identities: int
    measured_on: str


@dataclass(frozen=True)
class OwnStrangers:
    """A gallery's own images, asked as strangers.

    Attributes:
        size: by which a change of the gallery is noticed.
        scores: [A] highest cosine of each asked image to an image of another identity; empty where there are too few.
        identities, images: numbers of both in the gallery.
    """

    size: int
    scores: NDArray[np.float64]
    identities: int
    images: int

    @classmethod
    def of(cls, snapshot: Snapshot, size: int) -> OwnStrangers:
        """Ask the images of ``snapshot``."""
        return cls(size, own_scores(snapshot), snapshot.present, len(snapshot.ids))


def stranger_threshold(
    rate: float, asked: OwnStrangers, measured: Sequence[StrangerScores], pairs: Thresholds
) -> StrangerThreshold:
    """Return the threshold for strangers at a false-positive identification rate.

    With `ENOUGH_IDENTITIES` the gallery's own images decide. Below that number the higher threshold counts, of that
    and of what was measured on classes that the model was not fitted on. A model without that measurement gives a
    bound from its pairs: a stranger exceeds the threshold of FAR rate / M against one of M images at most at the rate.

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
    answers: list[tuple[float, str]] = []
    if len(own):
        allowed = math.floor(rate * len(own))
        if allowed >= 1:
            value = float(np.partition(own, len(own) - allowed - 1)[len(own) - allowed - 1])
            answers.append((value, f"{len(own)} images of the gallery, asked as strangers"))
    scores = nearest_size(measured, identities)
    if scores is not None and (identities < ENOUGH_IDENTITIES or not answers):
        answers.append((scores.cosine(rate, identities), scores.measured_on))
    if not answers:
        answers = _from_pairs(rate, asked.images, pairs)
    if not answers:
        if len(own):
            reason = (
                f"nothing: {len(own)} images of the gallery cannot tell a rate of {rate:g}, and the model was not "
                "calibrated"
            )
            return StrangerThreshold(rate, UNREACHABLE, identities, reason)
        raise InputError(
            "nothing is known about strangers: the model was not calibrated, and the gallery has fewer than "
            f"{FEWEST_IDENTITIES} identities or {FEWEST_IMAGES} images. Enroll more, or give a threshold."
        )
    cosine, measured_on = max(answers)
    if cosine > 1.0 - 1e-6:
        return StrangerThreshold(rate, UNREACHABLE, identities, f"{measured_on}, some of which equal enrolled ones")
    return StrangerThreshold(rate, cosine, identities, measured_on)


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


def own_scores(snapshot: Snapshot, seed: int = 0) -> NDArray[np.float64]:
    """Return the highest cosine [A] of images of the gallery to images of other identities; empty for too few."""
    images = len(snapshot.ids)
    if snapshot.present < FEWEST_IDENTITIES or images < FEWEST_IMAGES:
        return np.zeros(0)
    asked = min(ASKED, max(200, SCORES // images))
    probes = np.random.default_rng(seed).permutation(images)[:asked]
    return strangers(snapshot.vectors, snapshot.identities, probes)


def strangers(
    vectors: NDArray[np.float32], identities: NDArray[np.int64], probes: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the highest cosine [A] of each of the images ``probes`` to an image of another identity."""
    most = int(np.bincount(np.unique(identities, return_inverse=True)[1]).max())
    highest = np.empty(len(probes))
    for start in range(0, len(probes), 64):
        rows = probes[start : start + 64]
        # Of most + 1 images at least one is of another identity.
        scores, neighbors = top(vectors, vectors[rows], most + 1)
        other = identities[neighbors] != identities[rows][:, None]
        highest[start : start + 64] = np.where(other, scores, -np.inf).max(axis=1)
    return highest
