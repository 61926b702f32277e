"""Fit temperature, candidate sets and thresholds on images held out for calibration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics.checks import Floats
from steradian.models.calibration import COVERAGES, FARS, KNOTS, Calibration, PairCurve, Threshold

FEWEST = 20
"""Fewest images, and fewest pairs of each kind, to fit probabilities on."""

PAIRED = 2000
"""Most images whose pairs are used: two million pairs."""


def fit_calibration(
    logits: Floats, cosine: Floats, raw: Floats, labels: NDArray[np.int64], measured_on: str
) -> Calibration | None:
    """Fit a calibration on images used for nothing else; return None for fewer than `FEWEST` images.

    The logits [N, C] are margin-free, ``cosine`` [N] is to the nearest class center, and ``raw`` are embeddings [N, D].
    """
    if len(labels) < FEWEST:
        return None
    temperature = metrics.fit_temperature(logits, labels, doubt=1.0 / (len(labels) + 2))
    true_probabilities = metrics.softmax(logits / temperature)[np.arange(len(labels)), labels]
    bounds = {f"{share:g}": metrics.conformal_bound(1.0 - true_probabilities, share) for share in COVERAGES}
    known = {f"{share:g}": -metrics.conformal_bound(-cosine, share) for share in COVERAGES}
    return Calibration(
        temperature=temperature,
        coverage_quantiles={share: bound for share, bound in bounds.items() if math.isfinite(bound)},
        known_cosines={share: bound for share, bound in known.items() if math.isfinite(bound)},
        pairs=pair_curve(raw, labels),
        measured_on=measured_on,
    )


def pair_curve(raw: Floats, labels: NDArray[np.int64]) -> PairCurve | None:
    """Fit P(same class | cosine) on embeddings [N, D]; None with fewer than `FEWEST` genuine or impostor pairs."""
    scores = metrics.pair_scores(raw, labels, max_items=PAIRED)
    genuine, impostor = scores.genuine, scores.impostor
    if min(len(genuine), len(impostor)) < FEWEST:
        return None
    same = np.arange(len(genuine) + len(impostor)) < len(genuine)
    weights = np.where(same, 0.5 / len(genuine), 0.5 / len(impostor))
    fitted = metrics.fit_isotonic(np.concatenate([genuine, impostor]), same, weights)
    indices = np.unique(np.linspace(0, len(fitted.knots) - 1, min(len(fitted.knots), KNOTS)).astype(int))
    return PairCurve(cosines=fitted.knots[indices].tolist(), probabilities=fitted.probabilities[indices].tolist())


def fit_thresholds(raw: Floats, labels: NDArray[np.int64], measured_on: str, seed: int = 0) -> tuple[Threshold, ...]:
    """Fit a cosine threshold for each rate of `FARS` that the pairs of ``raw`` [N, D] support, with 95 % intervals.

    Intervals resample identities (`metrics.identity_interval`), so they hold for other identities of the same kind.
    A rate that half of the identities cannot support gets no threshold.
    """
    if len(labels) > PAIRED:
        sample = np.sort(np.random.default_rng(seed).choice(len(labels), PAIRED, replace=False))
        raw, labels = raw[sample], labels[sample]
    vectors = metrics.unit(raw).astype(np.float32)
    thresholds = []
    for far in FARS:

        def threshold(chosen: NDArray[np.intp], far: float = far) -> float:
            chosen_vectors, chosen_labels = vectors[chosen], labels[chosen]
            different = np.triu(chosen_labels[:, None] != chosen_labels[None, :], 1)
            return metrics.impostor_threshold((chosen_vectors @ chosen_vectors.T)[different], far)

        try:
            interval = metrics.identity_interval(threshold, labels, rounds=100, seed=seed)
        except InputError:
            continue
        if not math.isnan(interval.mean):
            thresholds.append(
                Threshold(far=far, cosine=interval.mean, low=interval.low, high=interval.high, measured_on=measured_on)
            )
    return tuple(thresholds)
