"""Compute order statistics of a stream of scores too long to store: the highest scores, or those at given ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steradian.metrics.tiles import above

BINS = 2**14
"""Number of histogram bins for cosines from -1 to 1; each bin is 1.2e-4 wide."""

REACH = 1.000001
"""Upper bound of a cosine in single precision, which can exceed 1 by rounding."""

PIECE = 2**20
"""Number of scores processed at a time."""


class HighestScores:
    """Keep the ``most`` highest scores of a stream, exactly; ``add`` takes tensors of any shape, without NaN.

    The memory used is that of about twice as many scores.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._buffer = torch.empty(2 * most + PIECE)
        self._count = 0
        self._threshold = -math.inf
        self._flags = torch.empty(PIECE, dtype=torch.bool)

    def add(self, scores: Tensor) -> None:
        """Add more scores of the stream."""
        for piece in torch.split(scores.reshape(-1), PIECE):
            candidates = piece[above(piece, self._threshold, self._flags)] if self._threshold > -math.inf else piece
            if self._count + len(candidates) > len(self._buffer):
                self._discard_lowest()
            self._buffer[self._count : self._count + len(candidates)] = candidates
            self._count += len(candidates)

    def falling(self) -> Tensor:
        """Return the kept scores, [at most ``most``], the highest first."""
        self._discard_lowest()
        kept_scores = self._buffer[: self._count]
        kept_scores.numpy().sort()
        return kept_scores.flip(0)

    def _discard_lowest(self) -> None:
        surplus = self._count - self.most
        if surplus > 0:
            # topk is not used: its indices would take twice the memory of the scores.
            kept_scores = self._buffer[: self._count].numpy()
            kept_scores.partition(surplus)
            kept_scores[: self.most] = kept_scores[surplus:]
            self._count = self.most
            self._threshold = float(kept_scores[: self.most].min())


def binned(scores: Tensor) -> NDArray[np.int64]:
    """Count the ``scores`` (cosines of any shape) in each of `BINS` bins, from the lowest bin up."""
    return torch.histc(scores, BINS, -REACH, REACH).to(torch.int64).numpy()


def at_places(
    stream: Callable[[], Iterator[Tensor]], histogram: NDArray[np.int64], ranks: Sequence[int]
) -> list[float]:
    """Return the exact scores at ``ranks`` (0 for the highest) of the stream that ``stream`` restarts.

    The histogram, the summed `binned` counts, gives the bin of each score; a second pass finds the score.
    """
    if not ranks:
        return []
    cumulative = np.cumsum(histogram[::-1])
    edges = np.linspace(REACH, -REACH, BINS + 1)
    # Add one bin on both sides: rounding may put a score into the neighboring bin.
    bins = np.searchsorted(cumulative, ranks, side="right")
    windows = [(edges[max(number - 1, 0)], edges[min(number + 2, BINS)]) for number in bins]
    windows = [(high if high < REACH else math.inf, low if low > -REACH else -math.inf) for high, low in windows]
    higher, inside = [0] * len(ranks), [[torch.empty(0)] for _ in ranks]
    for scores in stream():
        for number, (high, low) in enumerate(windows):
            below = scores <= high
            higher[number] += scores.numel() - int(below.sum())
            inside[number].append(scores[below & (scores > low)])
    results = []
    for rank, count, parts in zip(ranks, higher, inside, strict=True):
        candidates = torch.cat(parts).numpy()
        candidates.sort()
        results.append(float(candidates[len(candidates) - 1 - (rank - count)]))
    return results
