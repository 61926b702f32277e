"""Name everything that was found in a photo: several answers, and each identity at most once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steradian.data.model_input import Pixels
from steradian.finding.finders import NothingFoundError
from steradian.finding.regions import Quality, Region, region_answer
from steradian.gallery.decision import AUTO, MARGIN, VOTERS, Decision, Match, as_answer, decide, listed
from steradian.gallery.gallery import Gallery
from steradian.models.quality_gate import QualityGate

if TYPE_CHECKING:
    from steradian.plots.regions import Marked


@dataclass(frozen=True)
class RegionAnswer:
    """Who is in a region of a photo, and how well the region can be seen.

    Attributes:
        elsewhere: the name that fits this region best, but was given to another one; None if there is no such name.
        trust: chance that the answer can be trusted: that a name is right, or else that somebody enrolled would have
            been named. None for models without a `QualityGate`, where a name is ``elsewhere``, and of names by a
            threshold that does not come from a rate of strangers, for which nothing was measured.
    """

    region: Region
    quality: Quality
    decision: Decision
    elsewhere: str | None = None
    trust: float | None = None

    def as_answer(self) -> dict[str, Any]:
        """Return plain values: the decision, ``elsewhere``, ``trust``, and box, points and quality of the region."""
        values = as_answer("", self.decision)
        del values["image"]
        found = region_answer(self.region, self.quality)
        return {**found, **values, "elsewhere": self.elsewhere, "trust": rounded(self.trust)}


def rounded(trust: float | None) -> float | None:
    """Return a chance with three decimals."""
    return None if trust is None else round(trust, 3)


def identify_photo(
    gallery: Gallery,
    pixels: Pixels,
    *,
    repeated: bool = False,
    top: int = 5,
    strategy: str = AUTO,
    labels: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    **rate: float | None,
) -> list[RegionAnswer]:
    """Identify every region of a photo that the model's finder finds, from the left to the right.

    Args:
        pixels: the photo, uint8 [H, W] or [H, W, 3].
        repeated: whether several regions may be one identity, as in a mirror; otherwise see `one_each`.
        top, strategy, labels, where: see `Gallery.identify`.
        rate: one of ``strangers``, ``far`` and ``threshold``, see there.
    """
    model = gallery.recognizer
    try:
        found = model.preprocessing.cut_out(pixels)
    except NothingFoundError:
        return []
    squares = np.stack([square for _, _, square in found])
    most = matches_needed(top, len(found))
    decisions = gallery.identify_vectors(
        model.embed_squares(squares), top=most, strategy=strategy, labels=labels, where=where, **rate
    )
    last = decisions if repeated else one_each(decisions, margin_of(strategy))
    answers = []
    for (region, quality, _), alone, decision in zip(found, decisions, last, strict=True):
        elsewhere = taken_elsewhere(alone, decision)
        sure, trust = judged(decision, quality, model.gate, elsewhere, **rate)
        answers.append(RegionAnswer(region, quality, listed(sure, top), elsewhere, trust))
    return answers


def marked(pixels: Pixels, answers: Sequence[RegionAnswer], caption: str = "", first: int = 1) -> Marked:
    """Return a photo with what its answers draw on it: boxes with names, and numbers from ``first`` on."""
    from steradian.plots.regions import Marked

    boxes, points = [one.region.box for one in answers], [one.region.points for one in answers]
    labels = [
        f"{number} {one.decision.label or one.decision.decision}" for number, one in enumerate(answers, start=first)
    ]
    return Marked(pixels, boxes, labels, points, caption)


def judged(
    decision: Decision,
    quality: Quality,
    gate: QualityGate | None,
    elsewhere: str | None = None,
    *,
    strangers: float | None = None,
    far: float | None = None,
    threshold: float | None = None,
) -> tuple[Decision, float | None]:
    """Return a decision about a region, "poor" where it cannot be trusted, and how far it can, see `RegionAnswer`.

    Args:
        elsewhere: the name that the region would have had, but for another one.
        strangers, far, threshold: what was asked by.
    """
    if gate is None:
        return decision, None
    excess = decision.similarity - decision.threshold
    named = excess > 0.0
    if named and (far is not None or threshold is not None):
        # What was measured of names is true of thresholds that follow from strangers.
        return decision, None
    trust = gate.trust(quality, excess) if named else gate.chance(quality)
    # Where nobody is enrolled, nobody enrolled is there.
    poor = gate.is_poor(quality) and not (named and trust >= gate.least_trust) and bool(decision.matches)
    return (replace(decision, decision="poor", label=None) if poor else decision), None if elsewhere else trust


def matches_needed(top: int, regions: int) -> int:
    """Return how many matches `one_each` needs of each region: whoever is in another one is left out."""
    return max(top, VOTERS) + regions


def margin_of(strategy: str) -> float:
    """Return the margin of ambiguity of a strategy: with votes no answer is ambiguous."""
    return MARGIN if strategy != "vote" else -math.inf


def taken_elsewhere(alone: Decision, decision: Decision) -> str | None:
    """Return the name that a region had ``alone``, if it has not kept it in its ``decision`` beside the others."""
    kept = {_key(match) for match in decision.matches}
    return alone.label if alone.label is not None and _key(alone.matches[0]) not in kept else None


def one_each(decisions: Sequence[Decision], margin: float = MARGIN) -> list[Decision]:
    """Give every identity to one region at most, and decide the others again without it.

    Identities go to regions so that the sum of similarity - threshold over all named regions is the largest (the
    assignment problem, Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment

    people = sorted({_key(match) for one in decisions for match in one.matches if match.similarity > one.threshold})
    if not people:
        return list(decisions)
    column = {person: number for number, person in enumerate(people)}
    gains = np.zeros((len(decisions), len(people)))
    for row, one in enumerate(decisions):
        for match in one.matches:
            if match.similarity > one.threshold:
                gains[row, column[_key(match)]] = match.similarity - one.threshold
    pairs = zip(*linear_sum_assignment(gains, maximize=True), strict=True)
    owner = {people[person]: int(row) for row, person in pairs if gains[row, person] > 0.0}
    answers = []
    for row, one in enumerate(decisions):
        free = [match for match in one.matches if owner.get(_key(match), row) == row]
        answers.append(one if len(free) == len(one.matches) else decide(free, one.threshold, margin))
    return answers


def _key(match: Match) -> tuple[int, str]:
    """Return what says that two matches are one identity: its number, or the name of a class of the model."""
    return (match.identity if match.identity is not None else -1, match.label)
