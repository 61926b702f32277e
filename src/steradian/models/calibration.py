"""What makes answers trustworthy: temperature, bounds of sets and thresholds, as a model keeps them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from steradian.errors import InputError

COVERAGES = (0.8, 0.9, 0.95, 0.99)
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
FAR = 1e-3
"""The rate that is taken where none is named and there is a threshold for it."""

KNOTS = 200


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


def usual_far(thresholds: Sequence[Threshold]) -> float:
    """`FAR`, or the lowest rate that there is a threshold for where few images could not tell of that one."""
    known = [one.far for one in thresholds]
    return FAR if not known or any(math.isclose(far, FAR) for far in known) else min(known)


def _at(measured: dict[str, float], coverage: float) -> float:
    found = measured.get(f"{coverage:g}")
    if found is None:
        has = ", ".join(measured) or "none: too few images were held out"
        raise InputError(f"this model was not calibrated for a coverage of {coverage:g}; it has {has}.")
    return found
