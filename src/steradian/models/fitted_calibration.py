"""Temperature, bounds of sets and thresholds, from images kept for nothing else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics.checks import Floats
from steradian.models.calibration import COVERAGES, FARS, KNOTS, Calibration, PairCurve, Threshold

FEWEST = 20
"""Images; fewer say nothing of a probability."""

PAIRED = 2000
"""Images whose pairs are looked at: two million."""


def fit_calibration(
    logits: Floats, cosine: Floats, raw: Floats, labels: NDArray[np.int64], measured_on: str
) -> Calibration | None:
    """Fit on images that were used for nothing else; None where they are fewer than `FEWEST`.

    Args:
        logits: margin-free, [N, C].
        cosine: [N], to the nearest class center.
        raw: embeddings [N, D].
        labels: int64 [N].
    """
    if len(labels) < FEWEST:
        return None
    temperature = metrics.fit_temperature(logits, labels, doubt=1.0 / (len(labels) + 2))
    own = metrics.softmax(logits / temperature)[np.arange(len(labels)), labels]
    bounds = {f"{share:g}": metrics.conformal_bound(1.0 - own, share) for share in COVERAGES}
    known = {f"{share:g}": -metrics.conformal_bound(-cosine, share) for share in COVERAGES}
    return Calibration(
        temperature=temperature,
        coverage_quantiles={share: bound for share, bound in bounds.items() if math.isfinite(bound)},
        known_cosines={share: bound for share, bound in known.items() if math.isfinite(bound)},
        pairs=pair_curve(raw, labels),
        measured_on=measured_on,
    )


def pair_curve(raw: Floats, labels: NDArray[np.int64]) -> PairCurve | None:
    """Probability of the same class by cosine, of embeddings [N, D]; None with fewer than `FEWEST` pairs of a kind."""
    scores = metrics.pair_scores(raw, labels, max_items=PAIRED)
    genuine, impostor = scores.genuine, scores.impostor
    if min(len(genuine), len(impostor)) < FEWEST:
        return None
    same = np.arange(len(genuine) + len(impostor)) < len(genuine)
    weights = np.where(same, 0.5 / len(genuine), 0.5 / len(impostor))
    fitted = metrics.fit_isotonic(np.concatenate([genuine, impostor]), same, weights)
    kept = np.unique(np.linspace(0, len(fitted.knots) - 1, min(len(fitted.knots), KNOTS)).astype(int))
    return PairCurve(cosines=fitted.knots[kept].tolist(), probabilities=fitted.probabilities[kept].tolist())


def fit_thresholds(raw: Floats, labels: NDArray[np.int64], measured_on: str, seed: int = 0) -> tuple[Threshold, ...]:
    """Thresholds on the cosine at each of `FARS` that the pairs of ``raw`` [N, D] support, with 95 % intervals.

    Intervals are over identities (`metrics.identity_interval`), so of other identities of the same kind. A rate that
    halves of the identities cannot support has no threshold here.
    """
    if len(labels) > PAIRED:
        kept = np.sort(np.random.default_rng(seed).choice(len(labels), PAIRED, replace=False))
        raw, labels = raw[kept], labels[kept]
    vectors = metrics.unit(raw).astype(np.float32)
    found = []
    for far in FARS:

        def threshold(chosen: NDArray[np.intp], far: float = far) -> float:
            block, names = vectors[chosen], labels[chosen]
            different = np.triu(names[:, None] != names[None, :], 1)
            return metrics.impostor_threshold((block @ block.T)[different], far)

        try:
            interval = metrics.identity_interval(threshold, labels, rounds=100, seed=seed)
        except InputError:
            continue
        if not math.isnan(interval.mean):
            found.append(
                Threshold(far=far, cosine=interval.mean, low=interval.low, high=interval.high, measured_on=measured_on)
            )
    return tuple(found)
