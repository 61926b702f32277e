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
from steradian.metrics.tiles import nearest, nearest_alike, unit_vectors


@dataclass(frozen=True)
class RetrievalSums:
    """Sums over queries that have something to find.

    Attributes:
        queries: how many those are; ``alone``: those that have nothing, which are left out.
        recall: k -> how many have one of their like among the k nearest.
        r_precision, average_precision: sums of both at R.
        reciprocal_rank: sum of 1 / rank of the first of their like, 0 where it lies beyond the query's R and the
            largest k.
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

    R of a query is the number of references of its class. A query looks at as many neighbors as its R or the largest k
    asks, so a class of a million is slow, but memory stays bounded. Of equally near references the first counts.
    """
    names = as_labels(labels)
    vectors = unit_vectors(queries, names, "queries")
    if (references is None) != (reference_labels is None):
        raise InputError("references and reference_labels come together, or not at all.")
    alike = references is None
    known = names if reference_labels is None else as_labels(reference_labels, "reference_labels")
    others = vectors if references is None else unit_vectors(references, known, "references")
    number, shares = part
    if not 0 <= number < shares:
        raise InputError(f"part must be (i, n) with 0 <= i < n, but is {part}.")
    if any(isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1 for k in ks):
        raise InputError(f"every k must be a whole number from 1 on, but they are {list(ks)}.")
    relevant = _relevant(names, known) - int(alike)
    chosen = np.array_split(np.arange(len(names)), shares)[number]
    rest = chosen[relevant[chosen] > 0]
    sums = RetrievalSums(0, len(chosen) - len(rest), dict.fromkeys(ks, 0), 0.0, 0.0, 0.0)
    # Those that look equally far go together.
    rest = rest[np.argsort(relevant[rest], kind="stable")]
    far = np.minimum(np.maximum(relevant, max(ks, default=1)), len(known) - int(alike))
    codes = torch.from_numpy(known.astype(np.int64))
    while len(rest):
        alike_far = int(np.searchsorted(far[rest], 2 * far[rest[0]], side="right"))
        rows = rest[: min(alike_far, max(1, HELD // int(far[rest[alike_far - 1]])))]
        rest = rest[len(rows) :]
        of_rows = torch.from_numpy(rows)
        depth = int(far[rows[-1]])
        if alike and len(rows) == len(names):
            place = nearest_alike(vectors, depth).place[of_rows]
        else:
            place = nearest(vectors[of_rows], others, depth, of_rows if alike else None).place
        right = codes[place] == torch.from_numpy(names[rows].astype(np.int64))[:, None]
        sums = sums + _counted(right.numpy(), relevant[rows], ks)
    return sums


HELD = 2**22
"""Neighbors that are held at a time."""


def _relevant(names: Ints, known: Ints) -> Ints:
    """References of each query's class."""
    classes, counts = np.unique(known, return_counts=True)
    if len(classes) == 0:
        return np.zeros(len(names), dtype=np.int64)
    place = np.searchsorted(classes, names).clip(max=len(classes) - 1)
    found: Ints = np.where(classes[place] == names, counts[place], 0)
    return found


def _counted(right: NDArray[np.bool_], relevant: Ints, ks: Sequence[int]) -> RetrievalSums:
    ranks = np.arange(1, right.shape[1] + 1)
    within = right & (ranks <= relevant[:, None])
    hits = np.cumsum(within, axis=1)
    # What lies further than the query's own depth was looked at for others.
    near = right & (ranks <= np.maximum(relevant, max(ks, default=1))[:, None])
    first = np.where(near.any(axis=1), near.argmax(axis=1) + 1.0, np.inf)
    return RetrievalSums(
        len(right),
        0,
        {k: int((first <= k).sum()) for k in ks},
        float((hits[:, -1] / relevant).sum()),
        float(((hits / ranks * within).sum(axis=1) / relevant).sum()),
        float((1.0 / first).sum()),
    )


def recall_at_k(embeddings: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Share of items [N, D] with one of their class among the k nearest others; items alone in their class left out."""
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k must be a whole number from 1 on, but is {k!r}.")
    some = torch.from_numpy(np.flatnonzero(_relevant(names, names) > 1))
    if len(some) == 0:
        return math.nan
    codes, found = torch.from_numpy(names.astype(np.int64)), 0
    for rows in torch.split(some, max(1, HELD // k)):
        place = nearest(vectors[rows], vectors, min(k, len(names) - 1), rows).place
        found += int((codes[place] == codes[rows, None]).any(dim=1).sum())
    return found / len(some)


def map_at_r(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Mean over items of (1/R) sum_(i <= R) P(i) rel(i), R the number of others of the item's class."""
    return retrieval_sums(embeddings, labels, ks=(1,)).means()["map_at_r"]


def r_precision(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Mean over items of the share of its class among its R nearest."""
    return retrieval_sums(embeddings, labels, ks=(1,)).means()["r_precision"]
