"""Verification over all pairs of N items, without their N x N scores: exact thresholds from one or two passes.

A small false-accept rate needs only the highest impostor scores, so those are what is kept: as many as the rate allows,
found in a stream whose bar rises as it goes. For large rates a histogram says where the threshold is, and a second pass
finds it. Genuine pairs are few and are passed over again, against thresholds that are then known.
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
    kept = max((count for count in allowed if count < MOST_KEPT), default=0) + 1
    bracketed = [count for count in allowed if MOST_KEPT <= count < impostor]
    highest, counted = HighestScores(kept), np.zeros((2, BINS), dtype=np.int64)
    for scores in impostor_tiles(vectors, ends):
        highest.add(scores)
        if curve or bracketed:
            counted[0] += binned(scores)
    known = dict(zip(bracketed, at_places(lambda: impostor_tiles(vectors, ends), counted[0], bracketed), strict=True))
    falling = highest.falling().tolist()
    known |= {count: falling[count] if count < len(falling) else -math.inf for count in allowed if count not in known}
    thresholds = np.array([known[count] if count else math.nan for count in allowed])
    accepts = np.zeros(len(fars), dtype=np.int64)
    for scores in genuine_tiles(vectors, ends):
        accepts += (scores.numpy()[:, None] > thresholds + TIE).sum(axis=0)
        if curve:
            counted[1] += binned(scores)
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


def _curve(counted: NDArray[np.int64]) -> ScoreCounts:
    edges = np.linspace(-1.0, 1.0, BINS + 1)[:-1][::-1]
    impostor, genuine = counted[:, ::-1]
    some = impostor + genuine > 0
    return ScoreCounts(edges[some], genuine[some], impostor[some])
