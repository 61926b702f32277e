"""Exact search: every vector is looked at, a tile at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORES = 2**19
"""Scores that are made at a time (2 MiB): they stay in the cache while the highest are looked for."""

ROWS, QUERIES = 2**16, 2**8
"""Vectors of a tile, and questions that share it, at the most."""

BLOCK = 128
"""Vectors of which only the highest score is kept at first."""

Floats = NDArray[np.float32]


def unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Rows [N, D] of length one; a row of zeros stays one."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors / lengths, dtype=np.float32)


def top(
    vectors: Floats, queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[Floats, NDArray[np.int64]]:
    """The ``k`` rows of ``vectors`` [N, D] with the highest product with each of ``queries`` [Q, D].

    Args:
        allowed: bool [N], rows that count; None: all.

    Returns:
        Scores float32 [Q, K] falling and rows int64 [Q, K], K the lesser of ``k`` and the allowed rows; of equal scores
        the earlier row comes first.
    """
    places = None if allowed is None else np.flatnonzero(allowed)
    count = len(vectors) if places is None else len(places)
    k = min(k, count)
    best = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    if k == 0:
        return best, rows
    for start in range(0, len(queries), QUERIES):
        asked = queries[start : start + QUERIES]
        highest, blocks = _highest(vectors, asked, places, count)
        # The k best lie in the k blocks with the highest scores, and in those that are as high as the last of these.
        last = max(0, len(blocks) - k)
        least = np.partition(highest, last, axis=1)[:, last]
        for query in range(len(asked)):
            found = np.sort(blocks[highest[query] >= least[query]], axis=None)
            found = found[: np.searchsorted(found, count)]
            scores = vectors[found if places is None else places[found]] @ asked[query]
            order = _best(scores, k)
            best[start + query], rows[start + query] = scores[order], found[order]
    return best, rows if places is None else places[rows]


def _highest(
    vectors: Floats, queries: Floats, places: NDArray[np.int64] | None, count: int
) -> tuple[Floats, NDArray[np.int64]]:
    """The highest score [Q, B] of each block, and the rows [B, `BLOCK`] that it is of, some beyond the last."""
    turned, most = np.ascontiguousarray(queries.T), min(SCORES // len(queries), ROWS)
    step = min(max(1, most // BLOCK), -(-count // BLOCK)) * BLOCK
    scores = np.empty((step, len(queries)), dtype=np.float32)
    highest, blocks = [], []
    for start in range(0, count, step):
        size = min(step, count - start)
        chosen = slice(start, start + size) if places is None else places[start : start + size]
        # With the tile on the left both factors are read as they lie, which is a quarter faster.
        np.matmul(vectors[chosen], turned, out=scores[:size])
        number = -(-size // BLOCK)
        scores[size : number * BLOCK] = -np.inf
        # A block is every so manieth row of the tile: its scores are compared as they lie.
        highest.append(scores[: number * BLOCK].reshape(BLOCK, number, len(queries)).max(axis=0))
        blocks.append(start + np.arange(number)[:, None] + number * np.arange(BLOCK))
    return np.ascontiguousarray(np.concatenate(highest).T), np.concatenate(blocks)


def _best(scores: Floats, k: int) -> NDArray[np.int64]:
    """Places of the ``k`` highest, falling; of equal scores the earlier comes first."""
    enough = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    order: NDArray[np.int64] = enough[np.argsort(-scores[enough], kind="stable")[:k]]
    return order
