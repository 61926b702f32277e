"""Verification over all pairs of N items, without their N x N scores: exact thresholds from one or two passes.

A small false-accept rate needs only the highest impostor scores, so those are what is kept: as many as the rate allows,
found in a stream whose bar rises as it goes. For large rates a histogram says where the threshold is, and a second pass
finds it. Genuine pairs are few and are passed over again, against thresholds that are then known.
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
from steradian.metrics.checks import as_labels, as_share
from steradian.metrics.curves import ScoreCounts
from steradian.metrics.intervals import Interval, wilson_interval
from steradian.metrics.score_streams import BINS, HighestScores, at_places, binned
from steradian.metrics.tiles import COLUMNS, ROWS, TIE, unit_vectors

MOST_KEPT = 20_000_000
"""Impostor scores that are kept (about 400 MB at the peak); rates that need more take a second pass."""


@dataclass(frozen=True)
class Accepted:
    """True accepts at a false-accept rate.

    Attributes:
        far: the rate that was asked for; ``threshold``: a pair is accepted when its cosine is higher, by more than
            `tiles.TIE`.
        tar: share of genuine pairs accepted, with its Wilson interval; NaN where the impostors are too few.
        reason: why there is no number, or "".
    """

    far: float
    tar: float
    threshold: float
    interval: Interval
    reason: str = ""


@dataclass(frozen=True)
class AllPairs:
    """Verification numbers of all pairs.

    Attributes:
        genuine, impostor: pairs of one class, and of two.
        accepted: one for each rate that was asked for.
        histogram: counts of all scores in `BINS` bins, as `ScoreCounts` of the bins' lower edges: a curve that is exact
            to 1.2e-4 in the cosine; None if not asked for.
    """

    genuine: int
    impostor: int
    accepted: tuple[Accepted, ...]
    histogram: ScoreCounts | None


def verify_all_pairs(
    embeddings: ArrayLike, labels: ArrayLike, fars: Sequence[float] = (1e-3,), *, curve: bool = True
) -> AllPairs:
    """True-accept rates over all N (N - 1) / 2 pairs of items, at each of ``fars``, exact.

    With I impostors floor(far I) may be accepted; the threshold is the next highest impostor score (`tar_at_far`).
    Memory is a few tiles and the impostor scores above the largest rate's threshold.

    Args:
        embeddings: float [N, D]; directions count.
        labels: int [N].
        curve: also count all scores, for `AllPairs.histogram`.

    Raises:
        InputError: no genuine or no impostor pair.
    """
    return PairTally.of(embeddings, labels, fars, curve=curve).result()


@dataclass(frozen=True)
class PairTally:
    """What the impostor pairs of some rows say; the tallies of all parts add up to that of the whole.

    Attributes:
        vectors: unit, [N, D], sorted by class, with ``ends`` [N] where the class of each ends.
        fars: the rates that are asked for, of which each allows ``allowed`` impostors.
        genuine, impostor: pairs of each kind in all parts together.
        seen: impostor pairs of this part.
        highest: the impostor scores that the rates need.
        counted: int64 [`BINS`] impostor scores of this part, or None where nothing needs them.
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
        """Pass over the impostor pairs of the i-th of n parts, ``part`` = (i, n); otherwise as `verify_all_pairs`."""
        number, parts = part
        if not 0 <= number < parts:
            raise InputError(f"part must be (i, n) with 0 <= i < n, but is {part}.")
        names = as_labels(labels)
        vectors = unit_vectors(embeddings, names, "embeddings")
        order = np.argsort(names, kind="stable")
        _, starts, counts = np.unique(names[order], return_index=True, return_counts=True)
        vectors, ends = vectors[torch.from_numpy(order)], np.repeat(starts + counts, counts)
        genuine = int((counts * (counts - 1) // 2).sum())
        impostor = len(names) * (len(names) - 1) // 2 - genuine
        if genuine == 0 or impostor == 0:
            raise InputError(
                f"{genuine} genuine and {impostor} impostor pairs: verification needs pairs of both kinds."
            )
        allowed = tuple(math.floor(as_share(far, "far") * impostor * (1 + 1e-12)) for far in fars)
        kept = max((count for count in allowed if count < MOST_KEPT), default=0) + 1
        binning = curve or any(count >= MOST_KEPT for count in allowed)
        highest, seen = HighestScores(kept), 0
        counted = np.zeros(BINS, dtype=np.int64) if binning else None
        for scores in impostor_tiles(vectors, ends, part):
            highest.add(scores)
            seen += scores.numel()
            if counted is not None:
                counted += binned(scores)
        return cls(vectors, ends, tuple(fars), allowed, genuine, impostor, seen, highest, counted, curve)

    def __add__(self, other: PairTally) -> PairTally:
        if (self.fars, self.impostor, self.curve) != (other.fars, other.impostor, other.curve):
            raise InputError("tallies of other pairs or other rates cannot be added.")
        highest = HighestScores(self.highest.most)
        for found in (self.highest, other.highest):
            highest.merge(found)
        counted = None if self.counted is None or other.counted is None else self.counted + other.counted
        return replace(self, seen=self.seen + other.seen, highest=highest, counted=counted)

    def result(self) -> AllPairs:
        """The numbers, once all parts are in; passes over the genuine pairs, which are few.

        Raises:
            InputError: parts are missing, or one came twice.
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
        found = [
            _accepted(far, count, threshold, accepted, self.genuine, self.impostor)
            for far, count, threshold, accepted in zip(
                self.fars, self.allowed, thresholds.tolist(), accepts.tolist(), strict=True
            )
        ]
        whole = _curve(self.counted, genuine) if self.curve and self.counted is not None else None
        return AllPairs(self.genuine, self.impostor, tuple(found), whole)

    def _thresholds(self) -> NDArray[np.float64]:
        bracketed = [count for count in self.allowed if MOST_KEPT <= count < self.impostor]
        known: dict[int, float] = {}
        if bracketed and self.counted is not None:
            places = at_places(lambda: impostor_tiles(self.vectors, self.ends), self.counted, bracketed)
            known = dict(zip(bracketed, places, strict=True))
        falling = self.highest.falling()
        rest = {count for count in self.allowed if count not in known}
        known |= {count: float(falling[count]) if count < len(falling) else -math.inf for count in rest}
        return np.array([known[count] if count else math.nan for count in self.allowed])


def _accepted(far: float, allowed: int, threshold: float, accepts: int, genuine: int, impostor: int) -> Accepted:
    if allowed < 1:
        reason = f"{impostor:,} impostor pairs cannot support a false-accept rate below {1 / impostor:.1e}"
        return Accepted(far, math.nan, math.nan, Interval(math.nan, math.nan, math.nan), reason)
    return Accepted(far, accepts / genuine, threshold, wilson_interval(accepts, genuine))


def impostor_tiles(vectors: Tensor, ends: NDArray[np.intp], part: tuple[int, int] = (0, 1)) -> Iterator[Tensor]:
    """Cosines of all pairs of two classes, each once, in tensors of any shape.

    Args:
        vectors: [N, D], unit, sorted by class.
        ends: [N], where the class of each ends.
        part: (i, n), those of every n-th block of rows from the i-th on.
    """
    number, parts = part
    memory = vectors.new_empty(ROWS * COLUMNS)
    for top in range(number * ROWS, len(vectors), parts * ROWS):
        block = vectors[top : top + ROWS]
        of_block = torch.from_numpy(ends[top : top + ROWS])
        # From here on every column is of another class for some row, and from `clear` on for all.
        first, clear = int(of_block[0]), int(of_block[-1])
        spans = [(first, clear, True)] if first < clear else []
        spans += [(left, min(left + COLUMNS, len(vectors)), False) for left in range(clear, len(vectors), COLUMNS)]
        for left, right, mixed in spans:
            for start in range(left, right, COLUMNS):
                others = vectors[start : min(start + COLUMNS, right)]
                cosine = memory[: len(block) * len(others)].view(len(block), len(others))
                torch.mm(block, others.T, out=cosine)
                if mixed:
                    yield cosine[torch.arange(start, start + len(others)) >= of_block[:, None]]
                else:
                    yield cosine


def genuine_tiles(vectors: Tensor, ends: NDArray[np.intp]) -> Iterator[Tensor]:
    """Cosines of all pairs of one class, each once, [P] at a time; as `impostor_tiles`."""
    for top in range(0, len(vectors), ROWS):
        block = vectors[top : top + ROWS]
        of_block = torch.from_numpy(ends[top : top + ROWS])
        own = torch.arange(top, top + len(block))
        for start in range(top, int(of_block[-1]), COLUMNS):
            stop = min(start + COLUMNS, int(of_block[-1]))
            columns = torch.arange(start, stop)
            wanted = (columns > own[:, None]) & (columns < of_block[:, None])
            yield (block @ vectors[start:stop].T)[wanted]


def _curve(impostor: NDArray[np.int64], genuine: NDArray[np.int64]) -> ScoreCounts:
    edges = np.linspace(-1.0, 1.0, BINS + 1)[:-1][::-1]
    impostor, genuine = impostor[::-1], genuine[::-1]
    some = impostor + genuine > 0
    return ScoreCounts(edges[some], genuine[some], impostor[some])
