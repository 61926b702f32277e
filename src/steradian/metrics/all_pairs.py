"""Verify all pairs of N items without storing N x N scores: exact thresholds from one or two passes.

A small false-accept rate needs only the highest impostor scores, so a stream keeps as many of them as the rate allows.
For a large rate a histogram locates the bin of the threshold, and a second pass finds its exact value. The few genuine
pairs are scored last, when the thresholds are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from steradian.errors import InputError
from steradian.metrics.checks import as_labels, as_share, check_part
from steradian.metrics.curves import ScoreCounts
from steradian.metrics.intervals import Interval, wilson_interval
from steradian.metrics.score_streams import BINS, HighestScores, at_places, binned
from steradian.metrics.tiles import COLUMNS, ROWS, TIE, unit_vectors

MOST_KEPT = 20_000_000
"""Largest number of impostor scores kept (about 400 MB at the peak); rates that need more take a second pass."""


@dataclass(frozen=True)
class Accepted:
    """The true-accept rate at a false-accept rate.

    Attributes:
        far: the requested false-accept rate.
        tar: share of genuine pairs accepted; NaN if there are too few impostors.
        threshold: a pair is accepted if its cosine exceeds this by more than `tiles.TIE`.
        interval: the Wilson interval of ``tar``.
        reason: why ``tar`` is NaN, or "".
    """

    far: float
    tar: float
    threshold: float
    interval: Interval
    reason: str = ""


@dataclass(frozen=True)
class AllPairs:
    """Verification results of all pairs.

    Attributes:
        genuine, impostor: number of pairs of the same class, and of different classes.
        accepted: one for each requested rate.
        histogram: counts of all scores in `BINS` bins, as `ScoreCounts` of the bins' lower edges: a curve exact to
            1.2e-4 in the cosine; None if not requested.
    """

    genuine: int
    impostor: int
    accepted: tuple[Accepted, ...]
    histogram: ScoreCounts | None


def verify_all_pairs(
    embeddings: ArrayLike, labels: ArrayLike, fars: Sequence[float] = (1e-3,), *, curve: bool = True
) -> AllPairs:
    """Compute the exact true-accept rate over all N (N - 1) / 2 pairs of items at each rate in ``fars``.

    Of I impostors floor(far I) may be accepted; the threshold is the next highest impostor score (`tar_at_far`).
    Memory holds a few tiles and the impostor scores above the threshold of the largest rate.

    Args:
        embeddings: float [N, D]; only their directions matter.
        labels: int [N].
        curve: also count all scores for `AllPairs.histogram`.

    Raises:
        InputError: there is no genuine or no impostor pair.
    """
    return PairTally.of(embeddings, labels, fars, curve=curve).result()


@dataclass(frozen=True)
class PairTally:
    """Counts of the impostor pairs of a part of the rows; add the tallies of all parts to get that of all pairs.

    Attributes:
        vectors: unit vectors [N, D], sorted by class.
        ends: [N], where the class of each vector ends.
        fars: the requested false-accept rates.
        allowed: number of impostors that each rate allows.
        genuine, impostor: number of pairs of each kind in all parts together.
        seen: number of impostor pairs in this part.
        highest: the impostor scores that the rates need.
        counted: int64 [`BINS`], impostor scores of this part per bin, or None if not needed.
        curve: whether the result has a histogram.
    """

    vectors: Tensor
    ends: NDArray[np.intp]
    fars: tuple[float, ...]
    allowed: tuple[int, ...]
    genuine: int
    impostor: int
    seen: int
    highest: HighestScores
    counted: NDArray[np.int64] | None
    curve: bool

    @classmethod
    def of(
        cls,
        embeddings: ArrayLike,
        labels: ArrayLike,
        fars: Sequence[float] = (1e-3,),
        *,
        curve: bool = True,
        part: tuple[int, int] = (0, 1),
    ) -> PairTally:
        """Score the impostor pairs of the i-th of n parts, ``part`` = (i, n); otherwise as `verify_all_pairs`."""
        check_part(part)
        names = as_labels(labels)
        vectors = unit_vectors(embeddings, names, "embeddings")
        order = np.argsort(names, kind="stable")
        _, starts, counts = np.unique(names[order], return_index=True, return_counts=True)
        vectors, ends = vectors[torch.from_numpy(order)], np.repeat(starts + counts, counts)
        genuine = int((counts * (counts - 1) // 2).sum())
        impostor = len(names) * (len(names) - 1) // 2 - genuine
        if genuine == 0 or impostor == 0:
            raise InputError(
                f"{genuine} genuine and {impostor} impostor pairs came, but verification needs both: "
                "give at least two classes, and at least two images of one of them."
            )
        allowed = tuple(math.floor(as_share(far, "far") * impostor * (1 + 1e-12)) for far in fars)
        needed = max((count for count in allowed if count < MOST_KEPT), default=0) + 1
        binning = curve or any(count >= MOST_KEPT for count in allowed)
        highest, seen = HighestScores(needed), 0
        counted = np.zeros(BINS, dtype=np.int64) if binning else None
        for scores in impostor_tiles(vectors, ends, part):
            highest.add(scores)
            seen += scores.numel()
            if counted is not None:
                counted += binned(scores)
        return cls(vectors, ends, tuple(fars), allowed, genuine, impostor, seen, highest, counted, curve)

    def __add__(self, other: PairTally) -> PairTally:
        if (self.fars, self.impostor, self.curve) != (other.fars, other.impostor, other.curve):
            raise InputError("tallies of different pairs or rates cannot be added: use the same arguments.")
        highest = HighestScores(self.highest.most)
        for scores in (self.highest, other.highest):
            highest.add(scores.falling())
        counted = None if self.counted is None or other.counted is None else self.counted + other.counted
        return replace(self, seen=self.seen + other.seen, highest=highest, counted=counted)

    def result(self) -> AllPairs:
        """Score the genuine pairs and return the results; call it when all parts have been added.

        Raises:
            InputError: a part is missing or was added twice.
        """
        if self.seen != self.impostor:
            raise InputError(
                f"the tally holds {self.seen:,} of {self.impostor:,} impostor pairs: add every part, once each."
            )
        thresholds = self._thresholds()
        accepts = np.zeros(len(self.fars), dtype=np.int64)
        genuine = np.zeros(BINS, dtype=np.int64)
        for scores in genuine_tiles(self.vectors, self.ends):
            accepts += (scores.numpy()[:, None] > thresholds + TIE).sum(axis=0)
            if self.curve:
                genuine += binned(scores)
        rates = zip(self.fars, self.allowed, thresholds.tolist(), accepts.tolist(), strict=True)
        accepted_at_rates = (_accepted(*rate, self.genuine, self.impostor) for rate in rates)
        histogram = _curve(self.counted, genuine) if self.curve and self.counted is not None else None
        return AllPairs(self.genuine, self.impostor, tuple(accepted_at_rates), histogram)

    def _thresholds(self) -> NDArray[np.float64]:
        second_pass = [count for count in self.allowed if MOST_KEPT <= count < self.impostor]
        known: dict[int, float] = {}
        if second_pass and self.counted is not None:
            scores = at_places(lambda: impostor_tiles(self.vectors, self.ends), self.counted, second_pass)
            known = dict(zip(second_pass, scores, strict=True))
        falling = self.highest.falling()
        remaining = {count for count in self.allowed if count not in known}
        known |= {count: float(falling[count]) if count < len(falling) else -math.inf for count in remaining}
        return np.array([known[count] if count else math.nan for count in self.allowed])


def _accepted(far: float, allowed: int, threshold: float, accepts: int, genuine: int, impostor: int) -> Accepted:
    if allowed < 1:
        reason = f"{impostor:,} impostor pairs cannot support a false-accept rate below {1 / impostor:.1e}"
        return Accepted(far, math.nan, math.nan, Interval(math.nan, math.nan, math.nan), reason)
    return Accepted(far, accepts / genuine, threshold, wilson_interval(accepts, genuine))


def impostor_tiles(vectors: Tensor, ends: NDArray[np.intp], part: tuple[int, int] = (0, 1)) -> Iterator[Tensor]:
    """Yield the cosines of all pairs of different classes, each once, in tensors of any shape.

    The unit vectors [N, D] are sorted by class, whose ends are ``ends`` [N]; ``part`` (i, n) takes every n-th block.
    """
    number, parts = part
    memory = vectors.new_empty(ROWS * COLUMNS)
    for top in range(number * ROWS, len(vectors), parts * ROWS):
        block = vectors[top : top + ROWS]
        block_ends = torch.from_numpy(ends[top : top + ROWS])
        # From `first` on each column differs in class from some row of the block, from `clear` on from all rows.
        first, clear = int(block_ends[0]), int(block_ends[-1])
        spans = [(first, clear, True)] if first < clear else []
        spans += [(left, min(left + COLUMNS, len(vectors)), False) for left in range(clear, len(vectors), COLUMNS)]
        for left, right, mixed in spans:
            for start in range(left, right, COLUMNS):
                others = vectors[start : min(start + COLUMNS, right)]
                cosine = memory[: len(block) * len(others)].view(len(block), len(others))
                torch.mm(block, others.T, out=cosine)
                if mixed:
                    yield cosine[torch.arange(start, start + len(others)) >= block_ends[:, None]]
                else:
                    yield cosine


def genuine_tiles(vectors: Tensor, ends: NDArray[np.intp]) -> Iterator[Tensor]:
    """Yield the cosines of all pairs of the same class, each once, [P] at a time; see `impostor_tiles`."""
    for top in range(0, len(vectors), ROWS):
        block = vectors[top : top + ROWS]
        block_ends = torch.from_numpy(ends[top : top + ROWS])
        row_numbers = torch.arange(top, top + len(block))
        for start in range(top, int(block_ends[-1]), COLUMNS):
            stop = min(start + COLUMNS, int(block_ends[-1]))
            columns = torch.arange(start, stop)
            same_class = (columns > row_numbers[:, None]) & (columns < block_ends[:, None])
            yield (block @ vectors[start:stop].T)[same_class]


def _curve(impostor: NDArray[np.int64], genuine: NDArray[np.int64]) -> ScoreCounts:
    edges = np.linspace(-1.0, 1.0, BINS + 1)[:-1][::-1]
    impostor, genuine = impostor[::-1], genuine[::-1]
    filled = impostor + genuine > 0
    return ScoreCounts(edges[filled], genuine[filled], impostor[filled])
