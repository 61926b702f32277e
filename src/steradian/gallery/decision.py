"""Decide from similarities to enrolled identities: a name, "unknown", "ambiguous" or "poor"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["match", "unknown", "ambiguous", "poor"]
AUTO = "auto"
STRATEGIES = (AUTO, "nearest", "mean", "blended", "vote", "centers")

MARGIN = 0.02
"""If the two best similarities are above the threshold and differ by less, the answer is ambiguous."""

VOTERS = 3
"""Number of nearest images that vote (system D)."""


@dataclass(frozen=True)
class Match:
    """An enrolled identity and its similarity to a probe.

    Attributes:
        similarity: cosine.
        probability: of the same identity, if same and different are equally likely before; None if not calibrated.
        identity: its id in the gallery; None for a class of the model.
        image: id of the nearest image, or of the most typical one of a mean; None for a class of the model.
    """

    label: str
    similarity: float
    probability: float | None = None
    identity: int | None = None
    image: int | None = None


@dataclass(frozen=True, repr=False)
class Decision:
    """The answer for one image.

    Attributes:
        decision: "match", "unknown" (nobody exceeds the threshold), "ambiguous" (two do, within `MARGIN`), or "poor":
            the picture is too poor to tell, which only models with a `QualityGate` say.
        label: name of the match, else None.
        similarity: cosine to the best identity; NaN if nobody is enrolled.
        threshold: cosine that a match must exceed.
        probability: of the best identity, see `Match`.
        matches: the best identities, the most similar first, whether or not they exceed the threshold.
    """

    decision: Verdict
    label: str | None
    similarity: float
    threshold: float
    probability: float | None
    matches: tuple[Match, ...]

    def __repr__(self) -> str:
        said = f"{self.decision} {self.label!r}" if self.label is not None else self.decision
        return f"Decision({said}, similarity {self.similarity:.3f}, threshold {self.threshold:.3f})"


def decide(matches: Sequence[Match], threshold: float, margin: float = MARGIN) -> Decision:
    """Decide from the best identities, the most similar first.

    Formula: unknown if s_1 <= threshold; ambiguous if s_2 > threshold and s_1 - s_2 < margin; else a match. With
    votes the best may not be the most similar, so matches above the threshold are moved before all others.
    """
    if not matches:
        return Decision("unknown", None, float("nan"), threshold, None, ())
    over = [match for match in matches if match.similarity > threshold]
    matches = over + [match for match in matches if match.similarity <= threshold]
    best = matches[0] if over else max(matches, key=lambda match: match.similarity)
    if best.similarity <= threshold:
        verdict: Verdict = "unknown"
    elif len(matches) > 1 and matches[1].similarity > threshold and best.similarity - matches[1].similarity < margin:
        verdict = "ambiguous"
    else:
        verdict = "match"
    label = best.label if verdict == "match" else None
    return Decision(verdict, label, best.similarity, threshold, best.probability, tuple(matches))


def listed(decision: Decision, most: int) -> Decision:
    """Keep the best ``most`` matches of a decision; keep at least two if it is ambiguous."""
    return replace(decision, matches=decision.matches[: max(most, 2) if decision.decision == "ambiguous" else most])


def ranked(scores: NDArray[np.float32], identities: NDArray[np.int64], strategy: str = "nearest") -> list[int]:
    """Return the index in ``scores`` of the best image of each identity, the best identity first, for one query.

    Args:
        scores: [K], descending; ``identities`` [K]: the identity of each image.
        strategy: "vote": first the identities among the `VOTERS` nearest, by the sum of their similarities (system D),
            then the rest by their best image. All others: by their best image.
    """
    best: dict[int, int] = {}
    for index, identity in enumerate(identities.tolist()):
        best.setdefault(identity, index)
    if strategy == "vote":
        votes: dict[int, float] = {}
        for identity, score in zip(identities[:VOTERS].tolist(), scores[:VOTERS].tolist(), strict=True):
            votes[identity] = votes.get(identity, 0.0) + score
        return [best[identity] for identity in sorted(best, key=lambda one: -votes.get(one, -np.inf))]
    return list(best.values())


def as_answer(image: str, decision: Decision) -> dict[str, Any]:
    """Return a decision as plain values, with the name of its ``image`` first."""
    return {"image": image, **asdict(decision), "matches": [asdict(match) for match in decision.matches]}
