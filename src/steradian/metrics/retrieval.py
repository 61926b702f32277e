"""Finding one's like: Recall@k, R-precision, MAP@R and MRR from streamed neighbors, without an N x N matrix.

Sums over queries add up, so parts of the queries can be measured apart: `RetrievalSums` has a ``+``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_labels
from steradian.metrics.tiles import nearest, unit_vectors


@dataclass(frozen=True)
class RetrievalSums:
    """Sums over queries that have something to find.

    Attributes:
        queries: how many those are; ``alone``: those that have nothing, which are left out.
        recall: k -> how many have one of their like among the k nearest.
        r_precision, average_precision: sums of both at R.
        reciprocal_rank: sum of 1 / rank of the first of their like, 0 where it lies beyond the neighbors looked at.
    """

    queries: int
    alone: int
    recall: dict[int, int]
    r_precision: float
    average_precision: float
    reciprocal_rank: float

    def __add__(self, other: RetrievalSums) -> RetrievalSums:
        if self.recall.keys() != other.recall.keys():
            raise InputError("sums for different k cannot be added.")
        return RetrievalSums(
            self.queries + other.queries,
            self.alone + other.alone,
            {k: count + other.recall[k] for k, count in self.recall.items()},
            self.r_precision + other.r_precision,
            self.average_precision + other.average_precision,
            self.reciprocal_rank + other.reciprocal_rank,
        )

    def means(self) -> dict[str, float]:
        """ "recall_at_k", "r_precision", "map_at_r" and "mrr"; NaN without queries."""
        count = self.queries or math.nan
        return {
            **{f"recall_at_{k}": found / count for k, found in self.recall.items()},
            "r_precision": self.r_precision / count,
            "map_at_r": self.average_precision / count,
            "mrr": self.reciprocal_rank / count,
        }


def retrieval_sums(
    queries: ArrayLike,
    labels: ArrayLike,
    references: ArrayLike | None = None,
    reference_labels: ArrayLike | None = None,
    *,
    ks: Sequence[int] = (1, 10),
    part: tuple[int, int] = (0, 1),
) -> RetrievalSums:
    """Look for each query's class among references by cosine (Musgrave et al. 2020).

    Args:
        queries: float [N, D] with int labels [N].
        references: float [M, D] with int labels [M]; None: the queries themselves, and an item does not find itself.
        ks: of Recall@k.
        part: (i, n): measure the i-th of n shares of the queries; shares add up to the whole.

    R of a query is the number of references of its class. As many neighbors are looked at as the largest R or k asks.
    """
    names = as_labels(labels)
    vectors = unit_vectors(queries, names, "queries")
    skip_own = references is None
    if references is None:
        others, known = vectors, names
    else:
        known = as_labels(np.zeros(0) if reference_labels is None else reference_labels, "reference_labels")
        others = unit_vectors(references, known, "references")
    if any(k < 1 for k in ks):
        raise InputError(f"every k must be at least 1, but they are {list(ks)}.")
    relevant = _relevant(names, known) - int(skip_own)
    chosen = np.array_split(np.arange(len(names)), part[1])[part[0]]
    first = int(chosen[0]) if len(chosen) else 0
    available = len(known) - int(skip_own)
    depth = min(available, max([*ks, *relevant.tolist()], default=1))
    sums = RetrievalSums(0, 0, dict.fromkeys(ks, 0), 0.0, 0.0, 0.0)
    if depth < 1:
        return sums
    codes, of_queries = torch.from_numpy(known.astype(np.int64)), torch.from_numpy(names.astype(np.int64))
    for rows in torch.split(torch.arange(first, first + len(chosen)), QUERIES):
        place = nearest(vectors[rows], others, depth, int(rows[0]) if skip_own else None).place
        right = codes[place] == of_queries[rows, None]
        sums = sums + _counted(right.numpy(), relevant[rows.numpy()], ks)
    return sums


QUERIES = 4096
"""Queries whose neighbors are held at a time."""


def _relevant(names: Ints, known: Ints) -> Ints:
    """References of each query's class."""
    classes, counts = np.unique(known, return_counts=True)
    if len(classes) == 0:
        return np.zeros(len(names), dtype=np.int64)
    place = np.searchsorted(classes, names).clip(max=len(classes) - 1)
    found: Ints = np.where(classes[place] == names, counts[place], 0)
    return found


def _counted(right: NDArray[np.bool_], relevant: Ints, ks: Sequence[int]) -> RetrievalSums:
    some = relevant > 0
    right, relevant = right[some], relevant[some]
    alone = int((~some).sum())
    if len(right) == 0:
        return RetrievalSums(0, alone, dict.fromkeys(ks, 0), 0.0, 0.0, 0.0)
    ranks = np.arange(1, right.shape[1] + 1)
    within = right & (ranks <= relevant[:, None])
    hits = np.cumsum(within, axis=1)
    first = np.where(right.any(axis=1), right.argmax(axis=1) + 1.0, np.inf)
    return RetrievalSums(
        len(right),
        alone,
        {k: int((first <= k).sum()) for k in ks},
        float((hits[:, -1] / relevant).sum()),
        float(((hits / ranks * within).sum(axis=1) / relevant).sum()),
        float((1.0 / first).sum()),
    )


def recall_at_k(embeddings: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Share of items [N, D] with one of their class among the k nearest others; items alone in their class left out."""
    return retrieval_sums(embeddings, labels, ks=(k,)).means()[f"recall_at_{k}"]


def map_at_r(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Mean over items of (1/R) sum_(i <= R) P(i) rel(i), R the number of others of the item's class."""
    return retrieval_sums(embeddings, labels, ks=(1,)).means()["map_at_r"]


def r_precision(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Mean over items of the share of its class among its R nearest."""
    return retrieval_sums(embeddings, labels, ks=(1,)).means()["r_precision"]
