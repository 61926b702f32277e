"""Say how far an answer about a region can be trusted, by how well the region can be seen."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from steradian.finding.regions import Quality

LEAST_SHARPNESS = 1e-3
"""Regions of a single color count as this sharp."""

MOST_KNOTS = 100


class QualityGate(BaseModel):
    """How the chance of a right answer depends on the quality, measured on pictures and on worse copies of them.

    Beyond ``sharp_enough`` and ``sure_enough`` a region counts as no better: what was measured there does not rise.

    Attributes:
        sharpness, score: weights of `visibility`.
        sharp_enough, sure_enough: largest sharpness and score of the finder that count.
        visibilities, chances: knots of `chance`, rising.
        name_visibility, name_excess, name_bias: of `trust`.
        most_excess: largest similarity over the threshold that counts.
        least_visibility: below it a region is too poor to be enrolled, and to say that nobody enrolled is there.
        least_trust: of a poor region a name is said that has at least this trust.
        measured_on: description of the pictures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sharpness: float = Field(ge=0)
    score: float = Field(ge=0)
    sharp_enough: float = Field(gt=0)
    sure_enough: float
    visibilities: tuple[float, ...] = Field(min_length=1, max_length=MOST_KNOTS)
    chances: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1, max_length=MOST_KNOTS)
    name_visibility: float = Field(ge=0)
    name_excess: float = Field(ge=0)
    name_bias: float
    most_excess: float = Field(gt=0)
    least_visibility: float
    least_trust: float = Field(ge=0, le=1)
    measured_on: str

    @model_validator(mode="after")
    def _rises(self) -> QualityGate:
        if len(self.visibilities) != len(self.chances):
            raise ValueError("a chance is needed for each visibility")
        if any(later < earlier for column in (self.visibilities, self.chances) for earlier, later in pairwise(column)):
            raise ValueError("visibilities and chances must rise")
        return self

    def visibility(self, quality: Quality) -> float:
        """Return sharpness * ln min(sharpness, sharp_enough) + score * min(score, sure_enough)."""
        sharpness = min(max(quality.sharpness, LEAST_SHARPNESS), self.sharp_enough)
        return self.sharpness * math.log(sharpness) + self.score * min(quality.score, self.sure_enough)

    def chance(self, quality: Quality) -> float:
        """Return the chance that an enrolled identity would be named right if it were in a region.

        It is interpolated between the knots at the region's `visibility`; beyond them, it is that of the nearest one.
        """
        return float(np.interp(self.visibility(quality), self.visibilities, self.chances))

    def trust(self, quality: Quality, excess: float) -> float:
        """Return the chance that a name is right whose similarity exceeds the threshold by ``excess``.

        Formula: sigmoid(name_visibility * visibility + name_excess * min(excess, most_excess) + name_bias).
        """
        over = self.name_excess * min(excess, self.most_excess)
        return sigmoid(self.name_visibility * self.visibility(quality) + over + self.name_bias)

    def is_poor(self, quality: Quality) -> bool:
        """Return whether a region is too poor to be enrolled, and to say of it that nobody enrolled is there."""
        return self.visibility(quality) < self.least_visibility


def sigmoid(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)), for any logit."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
