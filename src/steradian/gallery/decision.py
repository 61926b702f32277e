"""Who is it? From the similarities of enrolled identities to a name, to "unknown", or to "ambiguous"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["match", "unknown", "ambiguous"]
STRATEGIES = ("nearest", "mean", "vote", "centers")

MARGIN = 0.02
"""Two identities above the threshold that are nearer to each other than this are not told apart."""

VOTERS = 3
"""Nearest images that vote (system D)."""


@dataclass(frozen=True)
class Match:
    """An enrolled identity and how alike it is.

    Attributes:
        similarity: cosine.
        probability: that it is the same, if same and different were as likely beforehand; None where not calibrated.
        identity: its number in the gallery; None for a class of the model.
        image: number of the image that was the nearest; None where no single one was.
    """

    label: str
    similarity: float
    probability: float | None = None
    identity: int | None = None
    image: int | None = None


@dataclass(frozen=True)
class Decision:
    """The answer for one image.

    Attributes:
        decision: "match", "unknown" (nobody exceeds the threshold) or "ambiguous" (two do, within `MARGIN`).
        label: of a match, else None.
        similarity: cosine to the best identity; NaN with nobody enrolled.
        threshold: cosine that a match exceeds.
        probability: see `Match`, of the best identity.
        matches: the best identities, the most alike first, whether they exceed the threshold or not.
    """

    decision: Verdict
    label: str | None
    similarity: float
    threshold: float
    probability: float | None
    matches: tuple[Match, ...]


def decide(matches: Sequence[Match], threshold: float, margin: float = MARGIN) -> Decision:
    """The answer from the best identities, the most alike first.

    Formula: unknown if s_1 <= threshold; ambiguous if s_2 > threshold and s_1 - s_2 < margin; else a match. By votes
    the best may be less alike than another: whoever does not exceed the threshold comes after all that do.
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


def listed(found: Decision, most: int) -> Decision:
    """``found`` with the best ``most`` matches; those that are too much alike both stay."""
    return replace(found, matches=found.matches[: max(most, 2) if found.decision == "ambiguous" else most])


def ranked(scores: NDArray[np.float32], identities: NDArray[np.int64], strategy: str = "nearest") -> list[int]:
    """Places in ``scores`` of the best image of each identity, the best identity first, for one query.

    Args:
        scores: [K] falling; ``identities`` [K] whose images they are.
        strategy: "vote": first those among the `VOTERS` nearest, by the sum of their similarities (system D), then as
            all others: by the best image of each.
    """
    best: dict[int, int] = {}
    for place, identity in enumerate(identities.tolist()):
        best.setdefault(identity, place)
    if strategy == "vote":
        votes: dict[int, float] = {}
        for identity, score in zip(identities[:VOTERS].tolist(), scores[:VOTERS].tolist(), strict=True):
            votes[identity] = votes.get(identity, 0.0) + score
        return [best[identity] for identity in sorted(best, key=lambda one: -votes.get(one, -np.inf))]
    return list(best.values())


def as_answer(image: str, found: Decision) -> dict[str, Any]:
    """A decision as plain values, the ``image`` it is of first."""
    return {"image": image, **asdict(found), "matches": [asdict(match) for match in found.matches]}
