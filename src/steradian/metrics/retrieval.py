"""Compute Recall@k, R-precision, MAP@R and MRR from streamed neighbors, without an N x N matrix.

Parts of the queries can be measured separately and added: `RetrievalSums` supports ``+``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_labels, check_part
from steradian.metrics.tiles import nearest, nearest_alike, unit_vectors


@dataclass(frozen=True)
class RetrievalSums:
    """Sums over the queries that have at least one relevant reference.

    Attributes:
        queries: number of these queries.
        alone: number of queries without a relevant reference, which are left out.
        recall: k -> number of queries with a relevant reference among the k nearest.
        r_precision, average_precision: sums of both at R.
        reciprocal_rank: sum of 1 / rank of the first relevant reference, 0 if its rank exceeds both the query's R
            and the largest k.
    """

    queries: int
    alone: int
    recall: dict[int, int]
    r_precision: float
    average_precision: float
    reciprocal_rank: float

    def __add__(self, other: RetrievalSums) -> RetrievalSums:
        if self.recall.keys() != other.recall.keys():
            raise InputError("sums for different k cannot be added: use the same ks for all parts.")
        return RetrievalSums(
            self.queries + other.queries,
            self.alone + other.alone,
            {k: count + other.recall[k] for k, count in self.recall.items()},
            self.r_precision + other.r_precision,
            self.average_precision + other.average_precision,
            self.reciprocal_rank + other.reciprocal_rank,
        )

    def means(self) -> dict[str, float]:
        """Return "recall_at_k", "r_precision", "map_at_r" and "mrr"; NaN without queries."""
        count = self.queries or math.nan
        return {
            **{f"recall_at_{k}": hits / count for k, hits in self.recall.items()},
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
    """Search each query's class among references by cosine (Musgrave et al. 2020).

    Args:
        queries: float [N, D].
        labels: int [N].
        references: float [M, D]; None means the queries themselves, where an item does not match itself.
        reference_labels: int [M], or None with ``references``.
        ks: the k of Recall@k.
        part: (i, n): measure the i-th of n parts of the queries; add the parts for the total.

    R of a query is the number of references of its class. A query needs max(R, largest k) neighbors, so a class of a
    million is slow, but memory stays bounded. Among equally near references the first comes first.
    """
    names = as_labels(labels)
    vectors = unit_vectors(queries, names, "queries")
    if (references is None) != (reference_labels is None):
        raise InputError("references and reference_labels come together: give both or neither.")
    among_themselves = references is None
    known = names if reference_labels is None else as_labels(reference_labels, "reference_labels")
    others = vectors if references is None else unit_vectors(references, known, "references")
    check_part(part)
    if any(isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1 for k in ks):
        raise InputError(f"every k must be a whole number, 1 or more, but they are {list(ks)}.")
    relevant = _relevant(names, known) - int(among_themselves)
    chosen = np.array_split(np.arange(len(names)), part[1])[part[0]]
    pending = chosen[relevant[chosen] > 0]
    sums = RetrievalSums(0, len(chosen) - len(pending), dict.fromkeys(ks, 0), 0.0, 0.0, 0.0)
    # Process queries that need a similar number of neighbors together.
    pending = pending[np.argsort(relevant[pending], kind="stable")]
    depths = np.minimum(np.maximum(relevant, max(ks, default=1)), len(known) - int(among_themselves))
    codes = torch.from_numpy(known.astype(np.int64))
    while len(pending):
        similar = int(np.searchsorted(depths[pending], 2 * depths[pending[0]], side="right"))
        rows = pending[: min(similar, max(1, HELD // int(depths[pending[similar - 1]])))]
        pending = pending[len(rows) :]
        row_indices = torch.from_numpy(rows)
        depth = int(depths[rows[-1]])
        if among_themselves and len(rows) == len(names):
            neighbors = nearest_alike(vectors, depth).place[row_indices]
        else:
            neighbors = nearest(vectors[row_indices], others, depth, row_indices if among_themselves else None).place
        matches = codes[neighbors] == torch.from_numpy(names[rows].astype(np.int64))[:, None]
        sums = sums + _counted(matches.numpy(), relevant[rows], ks)
    return sums


HELD = 2**22
"""Largest number of neighbors in memory at a time."""


def _relevant(names: Ints, known: Ints) -> Ints:
    """Return the number of references of each query's class."""
    classes, counts = np.unique(known, return_counts=True)
    if len(classes) == 0:
        return np.zeros(len(names), dtype=np.int64)
    index = np.searchsorted(classes, names).clip(max=len(classes) - 1)
    return np.where(classes[index] == names, counts[index], 0)


def _counted(matches: NDArray[np.bool_], relevant: Ints, ks: Sequence[int]) -> RetrievalSums:
    ranks = np.arange(1, matches.shape[1] + 1)
    within = matches & (ranks <= relevant[:, None])
    hits = np.cumsum(within, axis=1)
    # Neighbors beyond a query's own depth were fetched for other queries: ignore them.
    near = matches & (ranks <= np.maximum(relevant, max(ks, default=1))[:, None])
    first = np.where(near.any(axis=1), near.argmax(axis=1) + 1.0, np.inf)
    return RetrievalSums(
        len(matches),
        0,
        {k: int((first <= k).sum()) for k in ks},
        float((hits[:, -1] / relevant).sum()),
        float(((hits / ranks * within).sum(axis=1) / relevant).sum()),
        float((1.0 / first).sum()),
    )


def recall_at_k(embeddings: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Compute Recall@k of items [N, D] among the others; items that are alone in their class are left out."""
    names = as_labels(labels)
    vectors = unit_vectors(embeddings, names, "embeddings")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k must be a whole number, 1 or more, but is {k!r}.")
    queries = torch.from_numpy(np.flatnonzero(_relevant(names, names) > 1))
    if len(queries) == 0:
        return math.nan
    codes, hits = torch.from_numpy(names.astype(np.int64)), 0
    for rows in torch.split(queries, max(1, HELD // k)):
        neighbors = nearest(vectors[rows], vectors, min(k, len(names) - 1), rows).place
        hits += int((codes[neighbors] == codes[rows, None]).any(dim=1).sum())
    return hits / len(queries)


def map_at_r(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over items of (1/R) sum_(i <= R) P(i) rel(i); R is the number of others of the item's class."""
    return retrieval_sums(embeddings, labels, ks=(1,)).means()["map_at_r"]


def r_precision(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over items of the share of the R nearest others that are of the item's class."""
    return retrieval_sums(embeddings, labels, ks=(1,)).means()["r_precision"]
