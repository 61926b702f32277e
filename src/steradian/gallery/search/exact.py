"""Search exactly: compare queries with every vector, one tile at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Maximum vectors of a block; the first pass uses only the highest score of each block."""

SCORES, ROWS = 2**19, 2**16
"""Maximum scores (2 MiB) and vectors of a tile, so that it stays in the cache during the search."""

KEPT = 2**23
"""Maximum scores kept until the best are picked (32 MiB); beyond, scores of the best blocks are recomputed."""

ENOUGH, TOGETHER = 2**5, 2**8
"""Queries that share a tile: the number beyond which more bring little, and the maximum."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Scale the rows [N, D] to length one; a row of zeros stays zero."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors / lengths, dtype=np.float32)


def top(vectors: Floats, queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None) -> tuple[Floats, Integers]:
    """Find the ``k`` rows of ``vectors`` [N, D] with the highest product with each of ``queries`` [Q, D], all finite.

    Args:
        allowed: bool [N], rows to search; None: all.

    Returns:
        Descending scores float32 [Q, K] and rows int64 [Q, K]; K is the smaller of ``k`` and the number of allowed
        rows. Of equal scores the earlier row comes first.
    """
    permitted = None if allowed is None else np.flatnonzero(allowed)
    count = len(vectors) if permitted is None else len(permitted)
    k = min(k, count)
    best = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    if k == 0:
        return best, rows
    shared, block = max(1, min(KEPT // count, TOGETHER)), _block(count, k)
    # For a large k the blocks are small, and there are nearly as many blocks as scores.
    step = min(shared if shared >= min(len(queries), ENOUGH) else TOGETHER, max(1, KEPT * block // count))
    for start in range(0, len(queries), step):
        batch = queries[start : start + step]
        scored = _scored(vectors, batch, permitted, count, block)
        # The k best rows lie in the k blocks with the highest maxima, and in blocks that tie with the last of these.
        last = max(0, scored.highest.shape[1] - k)
        lowest = np.partition(scored.highest, last, axis=1)[:, last]
        for query in range(len(batch)):
            candidates = scored.rows(np.flatnonzero(scored.highest[query] >= lowest[query]))
            if scored.kept is None:
                scores = _products(vectors, candidates if permitted is None else permitted[candidates], batch[query])
            else:
                scores = scored.kept[candidates, query]
            order = _best(scores, k)
            best[start + query], rows[start + query] = scores[order], candidates[order]
    return best, rows if permitted is None else permitted[rows]


@dataclass(frozen=True)
class Scored:
    """Scores of Q queries with N vectors, in tiles of blocks.

    A block takes rows of its tile at a fixed stride, so that maxima run over contiguous memory.

    Attributes:
        count: N.
        block: rows of a block.
        blocks: blocks of a tile; the last tile may have fewer.
        highest: highest score of each block, [Q, B].
        kept: all scores [N, Q], or None.
    """

    count: int
    block: int
    blocks: int
    highest: Floats
    kept: Floats | None

    def rows(self, blocks: Integers) -> Integers:
        """Return the rows in ``blocks``, ascending."""
        tiles, offsets = np.divmod(blocks, self.blocks)
        strides = np.minimum(self.blocks, self.highest.shape[1] - tiles * self.blocks)
        first = tiles * self.blocks * self.block + offsets
        indices = np.sort(first[:, None] + strides[:, None] * np.arange(self.block), axis=None)
        return indices[: np.searchsorted(indices, self.count)]


def _block(count: int, k: int) -> int:
    """Choose the rows of a block so that finding the best blocks costs about as much as searching their rows."""
    return max(1, min(BLOCK, math.isqrt(count // (16 * k))))


def _scored(vectors: Floats, queries: Floats, permitted: Integers | None, count: int, block: int) -> Scored:
    transposed, total = np.ascontiguousarray(queries.T), -(-count // block)
    blocks = min(total, max(1, min(SCORES // len(queries), ROWS) // block))
    step, keep = blocks * block, count * len(queries) <= KEPT
    buffer = np.empty(((total if keep else blocks) * block, len(queries)), dtype=np.float32)
    highest = np.empty((total, len(queries)), dtype=np.float32)
    for tile, start in enumerate(range(0, count, step)):
        size = min(step, count - start)
        number = -(-size // block)
        scores = buffer[start if keep else 0 :][: number * block]
        chosen = slice(start, start + size) if permitted is None else permitted[start : start + size]
        # With the tile on the left both factors are read contiguously, which is a quarter faster.
        np.matmul(vectors[chosen], transposed, out=scores[:size])
        scores[size:] = -np.inf
        scores.reshape(block, number, -1).max(axis=0, out=highest[tile * blocks :][:number])
    return Scored(count, block, blocks, np.ascontiguousarray(highest.T), buffer if keep else None)


def _products(vectors: Floats, rows: Integers, query: Floats) -> Floats:
    """Compute the products of ``rows`` with ``query``, copying a part at a time."""
    step = ROWS // 8
    return np.concatenate([vectors[rows[start : start + step]] @ query for start in range(0, len(rows), step)])


def _best(scores: Floats, k: int) -> Integers:
    """Return the indices of the ``k`` highest scores, descending; of equal scores the earlier comes first."""
    candidates = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    order: Integers = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return order
