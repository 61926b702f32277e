"""What makes answers trustworthy: temperature, bounds of sets and thresholds, from images kept for nothing else."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics.checks import Floats

COVERAGES = (0.8, 0.9, 0.95, 0.99)
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
KNOTS = 200
FEWEST = 20
"""Images; fewer say nothing of a probability."""

PAIRED = 2000
"""Images whose pairs are looked at: two million."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairCurve(_Strict):
    """Probability that two images show the same, by their cosine, where same and different are as likely beforehand."""

    cosines: list[float] = Field(min_length=1, max_length=KNOTS)
    probabilities: list[float] = Field(min_length=1, max_length=KNOTS)

    @model_validator(mode="after")
    def _rises(self) -> PairCurve:
        if len(self.cosines) != len(self.probabilities):
            raise ValueError("a probability is needed for each cosine")
        if any(later < earlier for column in (self.cosines, self.probabilities) for earlier, later in pairwise(column)):
            raise ValueError("cosines and probabilities must rise")
        return self

    def __call__(self, cosine: float) -> float:
        """Interpolated; beyond the ends what it is there."""
        return float(np.interp(cosine, self.cosines, self.probabilities))


class Calibration(_Strict):
    """How logits become trustworthy probabilities, from held-out images.

    Attributes:
        temperature: probabilities are softmax(logits / temperature).
        coverage_quantiles: coverage -> largest 1 - p of a class in the set; see `metrics.conformal_sets`.
        known_cosines: share of known images -> the cosine to the nearest center that at least so many of them reach.
        pairs: of two images, or None where there were no pairs.
        measured_on: in words.
    """

    temperature: float = Field(gt=0)
    coverage_quantiles: dict[str, float] = {}
    known_cosines: dict[str, float] = {}
    pairs: PairCurve | None = None
    measured_on: str

    def bound(self, coverage: float) -> float:
        """Of ``coverage_quantiles``. Raises `InputError` where that coverage was not measured."""
        return _at(self.coverage_quantiles, coverage)

    def known_cosine(self, coverage: float) -> float:
        """Of ``known_cosines``. Raises `InputError` where that share was not measured."""
        return _at(self.known_cosines, coverage)


class Threshold(_Strict):
    """A cosine above which two images count as the same, and how sure that is."""

    far: float = Field(gt=0, lt=1)
    cosine: float
    low: float
    high: float
    measured_on: str


def _at(measured: dict[str, float], coverage: float) -> float:
    found = measured.get(f"{coverage:g}")
    if found is None:
        has = ", ".join(measured) or "none: too few images were held out"
        raise InputError(f"this model was not calibrated for a coverage of {coverage:g}; it has {has}.")
    return found


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
