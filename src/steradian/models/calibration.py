"""Calibration of a model: temperature, quantiles for candidate sets and verification thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, overload

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from steradian.errors import InputError

COVERAGES = (0.8, 0.9, 0.95, 0.99)
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
FAR = 1e-3
"""The default false-accept rate, if the model has a threshold for it."""

STRANGERS = 0.01
"""The default share of strangers that may be given a name."""

KNOTS = 200


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairCurve(_Strict):
    """Map the cosine of two images to the probability that they show the same class, for a prior of 0.5."""

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
        """Interpolate the probability; beyond the ends, return the nearest end's value."""
        return float(np.interp(cosine, self.cosines, self.probabilities))


class Calibration(_Strict):
    """How logits become calibrated probabilities, fitted on held-out images.

    Attributes:
        temperature: probabilities are softmax(logits / temperature).
        coverage_quantiles: coverage -> largest 1 - p of a class in the set; see `metrics.conformal_sets`.
        known_cosines: share of images of known classes -> cosine to the nearest class center that this share reaches.
        pairs: probabilities for two images, or None if there were too few pairs.
        measured_on: description of the images.
    """

    temperature: float = Field(gt=0)
    coverage_quantiles: dict[str, float] = {}
    known_cosines: dict[str, float] = {}
    pairs: PairCurve | None = None
    measured_on: str

    def bound(self, coverage: float) -> float:
        """Return the entry of ``coverage_quantiles``. Raises `InputError` if there is none for ``coverage``."""
        return _at(self.coverage_quantiles, coverage)

    def known_cosine(self, coverage: float) -> float:
        """Return the entry of ``known_cosines``. Raises `InputError` if there is none for ``coverage``."""
        return _at(self.known_cosines, coverage)


class Threshold(_Strict):
    """A cosine above which two images count as the same class, with its confidence interval."""

    far: float = Field(gt=0, lt=1)
    cosine: float
    low: float
    high: float
    measured_on: str


class StrangerScores(_Strict):
    """How close strangers come to a gallery: the highest cosine of images of classes that the model was not fitted on.

    Attributes:
        strategy: what a stranger is compared with: the "nearest" image, or the "mean" of each identity's images.
        identities: mean number of other identities in the galleries that were asked, also of unseen classes.
        rates, cosines: shares of the strangers, falling, and the cosine that each share exceeds, rising.
        measured_on: description of the images.
    """

    strategy: Literal["nearest", "mean"] = "nearest"
    identities: float = Field(gt=0)
    rates: list[float] = Field(min_length=2, max_length=KNOTS)
    cosines: list[float] = Field(min_length=2, max_length=KNOTS)
    measured_on: str

    @model_validator(mode="after")
    def _ordered(self) -> StrangerScores:
        if len(self.rates) != len(self.cosines):
            raise ValueError("a cosine is needed for each rate")
        falling = all(0 < later < earlier < 1 for earlier, later in pairwise(self.rates))
        if not falling or any(later < earlier for earlier, later in pairwise(self.cosines)):
            raise ValueError("rates must fall and cosines rise")
        return self

    def cosine(self, rate: float, identities: int) -> float:
        """Return the cosine that a share ``rate`` of strangers exceeds in a gallery of so many identities.

        Identities are taken as independent: a stranger is given none of N names with probability (1 - p)^N, so that
        rate r at N is 1 - (1 - r)^(n / N) at the measured n. Below the lowest measured rate the tail is taken as
        exponential, with the slope of the last tenth.
        """
        wanted = -math.expm1(math.log1p(-rate) * self.identities / max(identities, 1))
        logs = -np.log(self.rates)
        if wanted >= self.rates[-1]:
            return float(np.interp(-math.log(wanted), logs, self.cosines))
        start = int(np.searchsorted(logs, min(logs[-1] - math.log(10.0), logs[-2])))
        slope = (self.cosines[-1] - self.cosines[start]) / (logs[-1] - logs[start])
        return min(1.0, float(self.cosines[-1] + slope * (-math.log(wanted) - logs[-1])))


def nearest_size(scores: Sequence[StrangerScores], identities: int, strategy: str = "nearest") -> StrangerScores | None:
    """Return the measurement of the gallery size nearest to ``identities`` in proportion; None if there is none."""
    measured = [one for one in scores if one.strategy == strategy]
    return min(measured, key=lambda one: abs(math.log(one.identities / max(identities, 1))), default=None)


@dataclass(frozen=True)
class Thresholds(Sequence[Threshold]):
    """The thresholds of a model or of a gallery, one for each false-accept rate that was calibrated.

    Attributes:
        items: the thresholds, from the highest rate down.
        owner: "this model" or "this gallery", for messages.
    """

    items: tuple[Threshold, ...] = ()
    owner: str = "this model"

    @overload
    def __getitem__(self, index: int) -> Threshold: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Threshold, ...]: ...

    def __getitem__(self, index: int | slice) -> Threshold | tuple[Threshold, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def default_far(self) -> float:
        """The rate that is used where none is given: `FAR`, or the lowest calibrated rate if that one is missing."""
        known = [threshold.far for threshold in self.items]
        return FAR if not known or any(math.isclose(far, FAR) for far in known) else min(known)

    def at(self, far: float | None = None) -> Threshold:
        """Return the threshold for a false-accept rate.

        Args:
            far: share of pairs of different identities that may be accepted; None: `default_far`.

        Raises:
            InputError: that rate was not calibrated.
        """
        wanted = self.default_far if far is None else far
        chosen = next((threshold for threshold in self.items if math.isclose(threshold.far, wanted)), None)
        if chosen is not None:
            return chosen
        known = ", ".join(f"{threshold.far:g}" for threshold in self.items)
        raise InputError(
            f"{self.owner} has no threshold for a false-accept rate of {wanted:g}; "
            + (
                f"it has thresholds for {known}: choose one of those, or give a threshold."
                if known
                else "it has none, because too few images were held out for calibration. Give a threshold, or enroll "
                "more images and calibrate the gallery."
            )
        )


def _at(measured: dict[str, float], coverage: float) -> float:
    value = measured.get(f"{coverage:g}")
    if value is None:
        available = ", ".join(measured) or "none: too few images were held out"
        raise InputError(f"this model was not calibrated for a coverage of {coverage:g}; it has {available}.")
    return value
