"""What a recognizer answers for one image, and for two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Classification:
    """The answer for one image.

    Attributes:
        ranking: pairs (class name, probability), the most probable first.
        calibrated: whether the probabilities were calibrated on held-out images.
        coverage: nominal coverage of ``candidates`` and ``known``, for images like the held-out ones.
        candidates: the most probable classes; the true class is among them with probability ``coverage``. None for
            a model that is not calibrated for it.
        known: whether the cosine to the nearest class center reaches the value that a share ``coverage`` of images
            of known classes reaches. None for a model that is not calibrated for it.
    """

    ranking: tuple[tuple[str, float], ...]
    calibrated: bool
    coverage: float = 0.95
    candidates: tuple[str, ...] | None = None
    known: bool | None = None

    def as_answer(self, image: str) -> dict[str, Any]:
        """Return plain values: {image, ranking [{label, probability}], calibrated, coverage, candidates, known}."""
        ranking = [{"label": label, "probability": probability} for label, probability in self.ranking]
        promise = {"coverage": self.coverage, "candidates": self.candidates, "known": self.known}
        return {"image": image, "ranking": ranking, "calibrated": self.calibrated, **promise}


@dataclass(frozen=True)
class Verification:
    """The answer for two images.

    Attributes:
        same: whether ``similarity`` exceeds ``threshold``.
        similarity: cosine of the two embeddings.
        threshold: cosine at the false-accept rate ``far``.
        probability: probability that both show the same class, for a prior of 0.5; None for a model that is not
            calibrated.
    """

    same: bool
    similarity: float
    threshold: float
    far: float
    probability: float | None
