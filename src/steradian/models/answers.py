"""What a recognizer answers for one image, and for two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steradian.percentages import percent


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {percent(share)}" for name, share in self.ranking[:3])
        more = ", …" if len(self.ranking) > 3 else ""
        return f"Classification({shown}{more}{'; possibly none of these' if self.known is False else ''})"

    def as_answer(self, image: str) -> dict[str, Any]:
        """Return plain values: {image, ranking [{label, probability}], calibrated, coverage, candidates, known}."""
        ranking = [{"label": label, "probability": probability} for label, probability in self.ranking]
        promise = {"coverage": self.coverage, "candidates": self.candidates, "known": self.known}
        return {"image": image, "ranking": ranking, "calibrated": self.calibrated, **promise}


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        sure = "" if self.probability is None else f", {percent(self.probability)} sure that they are the same"
        verdict = "the same" if self.same else "different"
        return f"Verification({verdict}: similarity {self.similarity:.3f}, threshold {self.threshold:.3f}{sure})"
