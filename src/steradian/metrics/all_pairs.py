"""Verification over all pairs of N items, without their N x N scores: exact thresholds in one pass over the products.

A false-accept rate needs only the highest impostor scores, so those are what is kept: as many as the largest rate
allows, found in a stream whose bar rises as it goes. Genuine pairs are few and are passed over a second time, against
thresholds that are then known. A histogram of all scores draws the whole curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from steradian.errors import InputError
from steradian.metrics.checks import as_labels, as_share
from steradian.metrics.curves import ScoreCounts
from steradian.metrics.intervals import Interval, wilson_interval
from steradian.metrics.tiles import COLUMNS, ROWS, TIE, above, unit_vectors

BINS = 2**14
"""Of cosines from -1 to 1: a width of 1.2e-4."""

MOST_KEPT = 20_000_000
"""Impostor scores that may be kept (about 400 MB at the peak)."""


class HighestScores:
    """The ``most`` highest of a stream of scores, exact; ``add`` takes tensors of any shape, without NaN.

    About five times as many are in memory while they are sifted, and a tile of the first scores.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._parts: list[Tensor] = []
        self._held = 0
        self._bar = -math.inf
        self._flags = torch.empty(0, dtype=torch.bool)

    def add(self, scores: Tensor) -> None:
        """More of the stream."""
        flat = scores.reshape(-1)
        if len(self._flags) < len(flat):
            self._flags = torch.empty(len(flat), dtype=torch.bool)
        found = flat[above(flat, self._bar, self._flags)] if self._bar > -math.inf else flat.clone()
        self._parts.append(found)
        self._held += len(found)
        if self._held > 2 * self.most:
            self._keep()

    def merge(self, other: HighestScores) -> None:
        """What another has found, of other scores."""
        self.add(other.falling())

    def falling(self) -> Tensor:
        """[at most ``most``], the highest first."""
        self._keep()
        self._parts[0].numpy().sort()
        return self._parts[0].flip(0)

    def _keep(self) -> None:
        held = torch.cat([*self._parts, torch.empty(0)])
        if len(held) > self.most:
            # Not topk, whose indices would take twice the memory of the scores.
            rest = len(held) - self.most
            held.numpy().partition(rest)
            held = held[rest:].clone()
            self._bar = float(held.min())
        self._parts, self._held = [held], len(held)


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
        curve: also count all scores, for `AllPairs.histogram`; about as slow again.

    Raises:
        InputError: no genuine or no impostor pair; a rate so large that more than `MOST_KEPT` scores would be kept.
    """
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    order = np.argsort(names, kind="stable")
    _, starts, counts = np.unique(names[order], return_index=True, return_counts=True)
    vectors, ends = vectors[torch.from_numpy(order)], np.repeat(starts + counts, counts)
    genuine = int((counts * (counts - 1) // 2).sum())
    impostor = len(names) * (len(names) - 1) // 2 - genuine
    if genuine == 0 or impostor == 0:
        raise InputError(f"{genuine} genuine and {impostor} impostor pairs: verification needs pairs of both kinds.")
    allowed = [math.floor(as_share(far, "far") * impostor * (1 + 1e-12)) for far in fars]
    most = max(allowed, default=0) + 1
    if most > MOST_KEPT:
        raise InputError(
            f"a false-accept rate of {max(fars):g} over {impostor:,} impostor pairs would keep {most:,} scores "
            f"(at most {MOST_KEPT:,}). Ask for smaller rates, and read larger ones off the curve."
        )
    highest, counted = HighestScores(most), np.zeros((2, BINS), dtype=np.int64)
    for scores in impostor_tiles(vectors, ends):
        highest.add(scores)
        if curve:
            counted[0] += _binned(scores)
    falling = highest.falling().numpy()
    next_best = [falling[count] if count < len(falling) else -math.inf for count in allowed]
    thresholds = np.array([value if count else math.nan for value, count in zip(next_best, allowed, strict=True)])
    accepts = np.zeros(len(fars), dtype=np.int64)
    for scores in genuine_tiles(vectors, ends):
        accepts += (scores.numpy()[:, None] > thresholds + TIE).sum(axis=0)
        if curve:
            counted[1] += _binned(scores)
    found = [
        _accepted(far, count, threshold, accepted, genuine, impostor)
        for far, count, threshold, accepted in zip(fars, allowed, thresholds.tolist(), accepts.tolist(), strict=True)
    ]
    return AllPairs(genuine, impostor, tuple(found), _curve(counted) if curve else None)


def _accepted(far: float, allowed: int, threshold: float, accepts: int, genuine: int, impostor: int) -> Accepted:
    if allowed < 1:
        reason = f"{impostor:,} impostor pairs cannot support a false-accept rate below {1 / impostor:.1e}"
        return Accepted(far, math.nan, math.nan, Interval(math.nan, math.nan, math.nan), reason)
    return Accepted(far, accepts / genuine, threshold, wilson_interval(accepts, genuine))


def impostor_tiles(vectors: Tensor, ends: NDArray[np.intp]) -> Iterator[Tensor]:
    """Cosines of all pairs of two classes, each once, in tensors of any shape.

    Args:
        vectors: [N, D], unit, sorted by class.
        ends: [N], where the class of each ends.
    """
    memory = vectors.new_empty(ROWS * COLUMNS)
    for top in range(0, len(vectors), ROWS):
        block = vectors[top : top + ROWS]
        of_block = torch.from_numpy(ends[top : top + ROWS])
        # From here on every column is of another class for some row, and from `clear` on for all.
        first, clear = int(of_block[0]), int(of_block[-1])
        spans = [(first, clear, True)] if first < clear else []
        spans += [(left, min(left + COLUMNS, len(vectors)), False) for left in range(clear, len(vectors), COLUMNS)]
        for left, right, mixed in spans:
            for start in range(left, right, COLUMNS):
                part = vectors[start : min(start + COLUMNS, right)]
                cosine = memory[: len(block) * len(part)].view(len(block), len(part))
                torch.mm(block, part.T, out=cosine)
                if mixed:
                    yield cosine[torch.arange(start, start + len(part)) >= of_block[:, None]]
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


def _binned(scores: Tensor) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = torch.histc(scores, BINS, -1.000001, 1.000001).to(torch.int64).numpy()
    return counts


def _curve(counted: NDArray[np.int64]) -> ScoreCounts:
    edges = np.linspace(-1.0, 1.0, BINS + 1)[:-1][::-1]
    impostor, genuine = counted[:, ::-1]
    some = impostor + genuine > 0
    return ScoreCounts(edges[some], genuine[some], impostor[some])
