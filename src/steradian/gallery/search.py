"""Exact search: every vector is looked at, a tile at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCORES = 2**19
"""Scores that are made at a time (2 MiB): they stay in the cache while the best are picked."""

Floats = NDArray[np.float32]


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
    step = max(k, SCORES // len(queries))
    for start in range(0, count, step):
        chosen = slice(start, start + step) if places is None else places[start : start + step]
        scores = queries @ vectors[chosen].T
        # After a few tiles hardly one holds anything better, and looking for its highest is all that is done.
        hopeful = np.flatnonzero(scores.max(axis=1) > best[:, -1])
        if len(hopeful):
            first = np.arange(scores.shape[1]) + start
            _keep(best, rows, hopeful, scores[hopeful], first, k)
    return best, rows if places is None else places[rows]


def _keep(
    best: Floats, rows: NDArray[np.int64], hopeful: NDArray[np.intp], scores: Floats, numbers: NDArray[np.int64], k: int
) -> None:
    """Put the best of a tile among those that were best so far."""
    if scores.shape[1] > k:
        picked = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        # Equal scores at the border: argpartition takes any of them, and the earliest is wanted.
        lowest = np.take_along_axis(scores, picked, axis=1).min(axis=1)
        tied = (scores == lowest[:, None]).sum(axis=1) > 1
        for row in np.flatnonzero(tied):
            picked[row] = np.argsort(-scores[row], kind="stable")[:k]
    else:
        picked = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    all_scores = np.concatenate([best[hopeful], np.take_along_axis(scores, picked, axis=1)], axis=1)
    all_rows = np.concatenate([rows[hopeful], numbers[picked]], axis=1)
    order = np.lexsort((all_rows, -all_scores), axis=1)[:, :k]
    best[hopeful] = np.take_along_axis(all_scores, order, axis=1)
    rows[hopeful] = np.take_along_axis(all_rows, order, axis=1)
