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
