"""Say how far an answer about a region can be trusted, by how well the region can be seen."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from steradian.finding.regions import Quality

LEAST_SHARPNESS = 1e-3
"""Regions of a single color count as this sharp."""


class QualityGate(BaseModel):
    """Two logistic curves that were fitted on pictures and on worse copies of them, and the chances that they ask for.

    Beyond ``sharp_enough`` and ``sure_enough`` a region counts as no better: what was measured there does not rise.

    Attributes:
        sharpness, score, bias: of `chance`.
        sharp_enough, sure_enough: largest sharpness and score of the finder that count.
        name_chance, name_excess, name_bias: of `trust`.
        most_excess: largest similarity over the threshold that counts.
        least_chance: below it nothing can be said of a region, and it is not enrolled.
        least_trust: below it a name is not said.
        measured_on: description of the pictures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sharpness: float = Field(ge=0)
    score: float = Field(ge=0)
    bias: float
    sharp_enough: float = Field(gt=0)
    sure_enough: float
    name_chance: float = Field(ge=0)
    name_excess: float = Field(ge=0)
    name_bias: float
    most_excess: float = Field(gt=0)
    least_chance: float = Field(ge=0, le=1)
    least_trust: float = Field(ge=0, le=1)
    measured_on: str

    def chance(self, quality: Quality) -> float:
        """Return the chance that an enrolled identity would be named right if it were in a region.

        Formula: sigmoid(sharpness * ln min(sharpness, sharp_enough) + score * min(score, sure_enough) + bias).
        """
        return sigmoid(self._logit(quality))

    def trust(self, quality: Quality, excess: float) -> float:
        """Return the chance that a name is right whose similarity exceeds the threshold by ``excess``.

        Formula: sigmoid(name_chance * logit(chance) + name_excess * min(excess, most_excess) + name_bias).
        """
        over = self.name_excess * min(excess, self.most_excess)
        return sigmoid(self.name_chance * self._logit(quality) + over + self.name_bias)

    def is_poor(self, quality: Quality) -> bool:
        """Return whether a region is too poor to be enrolled, and to say of it that nobody enrolled is there."""
        return self.chance(quality) < self.least_chance

    def _logit(self, quality: Quality) -> float:
        sharpness = min(max(quality.sharpness, LEAST_SHARPNESS), self.sharp_enough)
        return self.sharpness * math.log(sharpness) + self.score * min(quality.score, self.sure_enough) + self.bias


def sigmoid(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)), for any logit."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
