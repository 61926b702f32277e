"""Exact search: every vector is looked at, a tile at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORES = 2**19
"""Scores that are made at a time (2 MiB): they stay in the cache while the best are picked."""

ROWS = 2**16
"""Vectors of a tile at the most."""

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
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), k), dtype=np.int64)
    if k == 0 or len(queries) == 0:
        return best, rows
    step, turned = max(k, min(SCORES // len(queries), ROWS)), np.ascontiguousarray(queries.T)
    held = np.empty((min(step, count), len(queries)), dtype=np.float32)
    for start in range(0, count, step):
        chosen = slice(start, start + step) if places is None else places[start : start + step]
        # With the tile on the left both factors are read as they lie, which is a quarter faster.
        scores = np.matmul(vectors[chosen], turned, out=held[: min(step, count - start)])
        # After a few tiles hardly one holds anything better, and looking for its highest is all that is done.
        for query in np.flatnonzero(_highest(scores) > best[:, -1]).tolist():
            _keep(best[query], rows[query], scores[:, query], start)
    return best, rows if places is None else places[rows]


def _highest(scores: Floats) -> Floats:
    """The highest of each column, [Q]: halves are folded onto each other, which reads memory as it lies."""
    folded = scores
    while folded.size > 2**14 and len(folded) % 2 == 0:
        half = len(folded) // 2
        folded = np.maximum(folded[:half], folded[half:])
    highest: Floats = folded.max(axis=0)
    return highest


def _keep(best: Floats, rows: NDArray[np.int64], scores: Floats, start: int) -> None:
    """Put what a tile of ``scores`` [T], from row ``start`` on, has to offer among the ``best`` [K] of a query."""
    better = np.flatnonzero(scores > best[-1])
    found = scores[better]
    if len(better) > 8 * len(best):
        # Those that equal the last that has a place come along, and the order below takes the earliest of them.
        enough = found >= np.partition(found, -len(best))[-len(best)]
        better, found = better[enough], found[enough]
    all_scores = np.concatenate([best, found])
    all_rows = np.concatenate([rows, better + start])
    order = np.lexsort((all_rows, -all_scores))[: len(best)]
    best[:], rows[:] = all_scores[order], all_rows[order]
