"""Exact search: every vector is looked at, a tile at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Vectors at the most of which at first only the highest score is looked at."""

SCORES, ROWS = 2**19, 2**16
"""Scores (2 MiB) and vectors of a tile at the most: it stays in the cache while the highest are looked for."""

KEPT = 2**23
"""Scores that are kept until the best are picked (32 MiB). Where there are more, those of the best are made again."""

ENOUGH, TOGETHER = 2**5, 2**8
"""Questions that share tiles: so many that sharing them with more brings little, and the most."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Rows [N, D] of length one; a row of zeros stays one."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors / lengths, dtype=np.float32)


def top(vectors: Floats, queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None) -> tuple[Floats, Integers]:
    """The ``k`` rows of ``vectors`` [N, D] with the highest product with each of ``queries`` [Q, D], all finite.

    Args:
        allowed: bool [N], rows that count; None: all.

    Returns:
        Scores float32 [Q, K] falling and rows int64 [Q, K], K the lesser of ``k`` and the allowed rows; of scores that
        come out equal the earlier row comes first.
    """
    places = None if allowed is None else np.flatnonzero(allowed)
    count = len(vectors) if places is None else len(places)
    k = min(k, count)
    best = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    if k == 0:
        return best, rows
    few, block = max(1, min(KEPT // count, TOGETHER)), _block(count, k)
    # Of many nearest the blocks are small, and their highest scores are nearly as many as all.
    step = min(few if few >= min(len(queries), ENOUGH) else TOGETHER, max(1, KEPT * block // count))
    for start in range(0, len(queries), step):
        asked = queries[start : start + step]
        scored = _scored(vectors, asked, places, count, block)
        # The k best lie in the k blocks with the highest scores, and in those that are as high as the last of these.
        last = max(0, scored.highest.shape[1] - k)
        least = np.partition(scored.highest, last, axis=1)[:, last]
        for query in range(len(asked)):
            found = scored.rows(np.flatnonzero(scored.highest[query] >= least[query]))
            if scored.kept is None:
                scores = _products(vectors, found if places is None else places[found], asked[query])
            else:
                scores = scored.kept[found, query]
            order = _best(scores, k)
            best[start + query], rows[start + query] = scores[order], found[order]
    return best, rows if places is None else places[rows]


@dataclass(frozen=True)
class Scored:
    """Scores of Q questions with N vectors, in tiles of blocks.

    A block is every so many-th row of its tile, so that scores are compared as they lie.

    Attributes:
        count: N.
        block: rows of each.
        blocks: of a tile; of the last fewer.
        highest: score of each block, [Q, B].
        kept: all scores [N, Q], or None.
    """

    count: int
    block: int
    blocks: int
    highest: Floats
    kept: Floats | None

    def rows(self, blocks: Integers) -> Integers:
        """The rows that are in ``blocks``, rising."""
        tiles, places = np.divmod(blocks, self.blocks)
        apart = np.minimum(self.blocks, self.highest.shape[1] - tiles * self.blocks)
        first = tiles * self.blocks * self.block + places
        found = np.sort(first[:, None] + apart[:, None] * np.arange(self.block), axis=None)
        return found[: np.searchsorted(found, self.count)]


def _block(count: int, k: int) -> int:
    """Rows of a block: about as many that it takes as long to find the best blocks as the best of their rows."""
    return max(1, min(BLOCK, math.isqrt(count // (16 * k))))


def _scored(vectors: Floats, queries: Floats, places: Integers | None, count: int, block: int) -> Scored:
    turned, total = np.ascontiguousarray(queries.T), -(-count // block)
    blocks = min(total, max(1, min(SCORES // len(queries), ROWS) // block))
    step, keep = blocks * block, count * len(queries) <= KEPT
    room = np.empty(((total if keep else blocks) * block, len(queries)), dtype=np.float32)
    highest = np.empty((total, len(queries)), dtype=np.float32)
    for tile, start in enumerate(range(0, count, step)):
        size = min(step, count - start)
        number = -(-size // block)
        scores = room[start if keep else 0 :][: number * block]
        chosen = slice(start, start + size) if places is None else places[start : start + size]
        # With the tile on the left both factors are read as they lie, which is a quarter faster.
        np.matmul(vectors[chosen], turned, out=scores[:size])
        scores[size:] = -np.inf
        scores.reshape(block, number, -1).max(axis=0, out=highest[tile * blocks :][:number])
    return Scored(count, block, blocks, np.ascontiguousarray(highest.T), room if keep else None)


def _products(vectors: Floats, rows: Integers, query: Floats) -> Floats:
    """Of some ``rows``, copied a part at a time."""
    step = ROWS // 8
    return np.concatenate([vectors[rows[start : start + step]] @ query for start in range(0, len(rows), step)])


def _best(scores: Floats, k: int) -> Integers:
    """Places of the ``k`` highest, falling; of equal scores the earlier comes first."""
    enough = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    order: Integers = enough[np.argsort(-scores[enough], kind="stable")[:k]]
    return order
