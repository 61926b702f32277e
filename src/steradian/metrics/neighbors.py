"""Accuracy of the nearest neighbors by cosine, without an N x N matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_labels, as_rows, unit

TILE = 1024


def knn_predict(queries: ArrayLike, references: ArrayLike, reference_labels: ArrayLike, k: int = 5) -> Ints:
    """Labels [N] by vote of the k references of the highest cosine, each vote weighing 1 + its cosine.

    Ties go to the label that comes first in sorted order. Memory is `TILE` x M.

    Args:
        queries: float [N, D].
        references: float [M, D].
        reference_labels: int [M].
        k: number of neighbors, at least 1; more than M means all M.
    """
    reference_labels = as_labels(reference_labels, "reference_labels")
    references = unit(as_rows(references, reference_labels, "references"))
    queries = np.asarray(queries)
    queries = unit(as_rows(queries, np.zeros(len(queries), dtype=int), "queries"))
    if k < 1:
        raise InputError(f"k must be at least 1, but is {k}.")
    if queries.shape[1] != references.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} dimensions, references {references.shape[1]}.")
    k = min(k, len(references))
    known, codes = np.unique(reference_labels, return_inverse=True)
    chosen = np.empty(len(queries), dtype=np.intp)
    for start in range(0, len(queries), TILE):
        cosine = queries[start : start + TILE] @ references.T
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        rows = np.arange(len(cosine))[:, None]
        votes = np.zeros((len(cosine), len(known)))
        np.add.at(votes, (rows, codes[nearest]), cosine[rows, nearest] + 1.0)
        chosen[start : start + TILE] = votes.argmax(axis=1)
    predicted: Ints = known[chosen]
    return predicted


def knn_accuracy(
    queries: ArrayLike, labels: ArrayLike, references: ArrayLike, reference_labels: ArrayLike, k: int = 5
) -> float:
    """Share of ``queries`` [N, D] whose label `knn_predict` names."""
    labels = as_labels(labels)
    as_rows(queries, labels, "queries")
    return float(np.mean(knn_predict(queries, references, reference_labels, k) == labels))
