"""Thresholds from a gallery's own images: how alike strangers are to those who are enrolled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError
from steradian.gallery.gallery import Gallery
from steradian.gallery.search import top
from steradian.models.calibration import FARS, Threshold

ASKED = 2000
"""Images that are asked about."""

FEWEST_IDENTITIES, FEWEST_IMAGES = 5, 20


def calibrate(gallery: Gallery, seed: int = 0) -> tuple[Threshold, ...]:
    """Thresholds at false-accept rates of 10 % and below, kept in the gallery.

    Each image is asked about as if its identity were not enrolled: its highest cosine to the images of all others is
    what a stranger reaches. A threshold at a rate is exceeded by that share of such questions; the 95 % intervals are
    over identities. Rates that so few images cannot support get none.

    Raises:
        InputError: too few identities or images.
    """
    memory = gallery.memory()
    vectors, identities = memory.vectors, memory.identities
    present = len(np.unique(identities))
    if present < FEWEST_IDENTITIES or len(vectors) < FEWEST_IMAGES:
        raise InputError(
            f"{present} identities with {len(vectors)} images: at least {FEWEST_IDENTITIES} with {FEWEST_IMAGES} in "
            "all are needed to tell how alike strangers are. Enroll more, or use the thresholds of the model."
        )
    asked = np.random.default_rng(seed).permutation(len(vectors))[:ASKED]
    highest = strangers(vectors, identities, asked)
    whose = identities[asked]
    words = f"{len(asked)} images of {present} identities of the gallery, each asked about as a stranger"
    found = []
    for far in FARS:

        def threshold(chosen: NDArray[np.intp], far: float = far) -> float:
            return metrics.impostor_threshold(highest[chosen], far)

        value = threshold(np.arange(len(asked)))
        if math.isnan(value):
            continue
        try:
            interval = metrics.identity_interval(threshold, whose, rounds=100, seed=seed)
        except InputError:
            continue
        # Cosines of equal pictures may be rounded to more than one.
        value = min(1.0, value)
        low, high = max(-1.0, min(interval.low, value)), min(1.0, max(interval.high, value))
        found.append(Threshold(far=far, cosine=value, low=low, high=high, measured_on=words))
    gallery.set_thresholds(found)
    return tuple(found)


def strangers(
    vectors: NDArray[np.float32], identities: NDArray[np.int64], asked: NDArray[np.intp]
) -> NDArray[np.float64]:
    """The highest cosine of each of the images ``asked`` to an image of another identity, [A]."""
    most = int(np.bincount(np.unique(identities, return_inverse=True)[1]).max())
    highest = np.empty(len(asked))
    for start in range(0, len(asked), 64):
        rows = asked[start : start + 64]
        # Among so many nearest images one must be somebody else's.
        scores, found = top(vectors, vectors[rows], most + 1)
        other = identities[found] != identities[rows][:, None]
        highest[start : start + 64] = np.where(other, scores, -np.inf).max(axis=1)
    return highest
