"""Order statistics of a stream of scores that is too long to keep: the highest ones, or those at given places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steradian.metrics.tiles import above

BINS = 2**14
"""Of cosines from -1 to 1: a width of 1.2e-4."""

REACH = 1.000001
"""Cosines of single precision may pass 1 by their last bits."""


PIECE = 2**20
"""Scores that are looked at together."""


class HighestScores:
    """The ``most`` highest of a stream of scores, exact; ``add`` takes tensors of any shape, without NaN.

    Room for about twice as many is all the memory it takes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._room = torch.empty(2 * most + PIECE)
        self._held = 0
        self._bar = -math.inf
        self._flags = torch.empty(PIECE, dtype=torch.bool)

    def add(self, scores: Tensor) -> None:
        """More of the stream."""
        for piece in torch.split(scores.reshape(-1), PIECE):
            found = piece[above(piece, self._bar, self._flags)] if self._bar > -math.inf else piece
            if self._held + len(found) > len(self._room):
                self._keep()
            self._room[self._held : self._held + len(found)] = found
            self._held += len(found)

    def merge(self, other: HighestScores) -> None:
        """What another has found, of other scores."""
        self.add(other.falling())

    def falling(self) -> Tensor:
        """[at most ``most``], the highest first."""
        self._keep()
        held = self._room[: self._held]
        held.numpy().sort()
        return held.flip(0)

    def _keep(self) -> None:
        rest = self._held - self.most
        if rest > 0:
            # Not topk, whose indices would take twice the memory of the scores.
            held = self._room[: self._held].numpy()
            held.partition(rest)
            held[: self.most] = held[rest:]
            self._held = self.most
            self._bar = float(held[: self.most].min())


def binned(scores: Tensor) -> NDArray[np.int64]:
    """How many of ``scores``, cosines of any shape, lie in each of `BINS` bins, from the lowest."""
    counts: NDArray[np.int64] = torch.histc(scores, BINS, -REACH, REACH).to(torch.int64).numpy()
    return counts


def at_places(
    stream: Callable[[], Iterator[Tensor]], histogram: NDArray[np.int64], places: Sequence[int]
) -> list[float]:
    """The scores at ``places`` of the falling order, from 0, exact: the histogram says near where, a second pass where.

    Args:
        stream: makes the stream once more; it is not asked without places.
        histogram: its `binned` counts, summed.
    """
    if not places:
        return []
    down_to = np.cumsum(histogram[::-1])
    edges = np.linspace(REACH, -REACH, BINS + 1)
    # A bin more on both sides: rounding may put a score into the next one.
    bins = np.searchsorted(down_to, places, side="right")
    windows = [(edges[max(place - 1, 0)], edges[min(place + 2, BINS)]) for place in bins]
    windows = [(high if high < REACH else math.inf, low if low > -REACH else -math.inf) for high, low in windows]
    passed, inside = [0] * len(places), [[torch.empty(0)] for _ in places]
    for scores in stream():
        for number, (high, low) in enumerate(windows):
            below = scores <= high
            passed[number] += scores.numel() - int(below.sum())
            inside[number].append(scores[below & (scores > low)])
    found = []
    for place, count, parts in zip(places, passed, inside, strict=True):
        near = torch.cat(parts).numpy()
        near.sort()
        found.append(float(near[len(near) - 1 - (place - count)]))
    return found
