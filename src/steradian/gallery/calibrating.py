"""Calibrate thresholds on a gallery's own images, each as a probe that is not enrolled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError
from steradian.gallery.gallery import Gallery
from steradian.gallery.strangers import ASKED, FEWEST_IDENTITIES, strangers
from steradian.models.calibration import FARS, Threshold

FEWEST_IMAGES = 20


def calibrate(gallery: Gallery, seed: int = 0) -> tuple[Threshold, ...]:
    """Compute thresholds at false-accept rates of 10 % and below, and store them in the gallery.

    Each image is a probe as if its identity were not enrolled: its highest cosine to the images of other identities
    is an impostor score. A threshold at a rate is exceeded by that share of these scores; the 95 % intervals are
    over identities. Rates that need more images get no threshold.

    Raises:
        InputError: there are too few identities or images.
    """
    snapshot = gallery.snapshot()
    vectors, identities = snapshot.vectors, snapshot.identities
    present = len(np.unique(identities))
    if present < FEWEST_IDENTITIES or len(vectors) < FEWEST_IMAGES:
        raise InputError(
            f"calibration needs {FEWEST_IDENTITIES} identities with {FEWEST_IMAGES} images in all, but there are "
            f"{present} with {len(vectors)}. Enroll more, or use the thresholds of the model."
        )
    probes = np.random.default_rng(seed).permutation(len(vectors))[:ASKED]
    probe_identities = identities[probes]
    highest = strangers(vectors[probes], probe_identities, vectors, identities)
    measured_on = f"{len(probes)} images of {present} identities of the gallery, each used as a probe not enrolled"
    thresholds = []
    for far in FARS:

        def threshold(chosen: NDArray[np.intp], far: float = far) -> float:
            return metrics.impostor_threshold(highest[chosen], far)

        value = threshold(np.arange(len(probes)))
        if math.isnan(value):
            continue
        try:
            interval = metrics.identity_interval(threshold, probe_identities, rounds=100, seed=seed)
        except InputError:
            continue
        # Rounding may raise cosines of equal pictures above one.
        value = min(1.0, value)
        low, high = max(-1.0, min(interval.low, value)), min(1.0, max(interval.high, value))
        thresholds.append(Threshold(far=far, cosine=value, low=low, high=high, measured_on=measured_on))
    gallery.set_thresholds(thresholds)
    return tuple(thresholds)
