"""Find nearest neighbors by cosine and classify by their votes, without an N x M matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels
from steradian.metrics.tiles import nearest, unit_vectors


class Neighbors(NamedTuple):
    """The k nearest references of each query, nearest first: cosines [N, k] and indices ``place`` int64 [N, k]."""

    cosine: Floats
    place: Ints


def nearest_neighbors(queries: ArrayLike, references: ArrayLike, k: int) -> Neighbors:
    """Find the k references [M, D] with the highest cosine to each query [N, D]; ties go to the first reference.

    Raises:
        InputError: k is below 1 or above M, or the shapes do not match.
    """
    vectors, others = np.asarray(queries), np.asarray(references)
    matches = nearest(
        unit_vectors(vectors, np.zeros(len(vectors), dtype=int), "queries"),
        unit_vectors(others, np.zeros(len(others), dtype=int), "references"),
        k,
    )
    return Neighbors(matches.cosine.numpy(), matches.place.numpy())


def knn_predict(queries: ArrayLike, references: ArrayLike, reference_labels: ArrayLike, k: int = 5) -> Ints:
    """Predict labels [N] by vote of the k references with the highest cosine; a vote weighs 1 + its cosine.

    Ties go to the smallest label.

    Args:
        queries: float [N, D].
        references: float [M, D].
        reference_labels: int [M].
        k: number of neighbors, at least 1; values above M mean all M.
    """
    labels = as_labels(reference_labels, "reference_labels")
    if len(labels) != len(np.asarray(references)):
        raise InputError(f"{len(np.asarray(references))} references came with {len(labels)} labels; give one each.")
    if k < 1:
        raise InputError(f"k must be at least 1, but is {k}.")
    neighbors = nearest_neighbors(queries, references, min(k, len(labels)))
    voted = labels[neighbors.place]
    order = np.argsort(voted, axis=1, kind="stable")
    voted = np.take_along_axis(voted, order, axis=1)
    votes = np.take_along_axis(neighbors.cosine.astype(np.float64) + 1.0, order, axis=1)
    sums = np.stack([np.where(voted == voted[:, [rank]], votes, 0.0).sum(axis=1) for rank in range(voted.shape[1])])
    # Labels are sorted, so argmax picks the smallest label among equal sums.
    predicted: Ints = voted[np.arange(len(voted)), sums.argmax(axis=0)]
    return predicted


def knn_accuracy(
    queries: ArrayLike, labels: ArrayLike, references: ArrayLike, reference_labels: ArrayLike, k: int = 5
) -> float:
    """Return the share of ``queries`` [N, D] whose label `knn_predict` predicts."""
    names = as_labels(labels)
    if len(names) != len(np.asarray(queries)):
        raise InputError(f"{len(np.asarray(queries))} queries came with {len(names)} labels; give one label per query.")
    return float(np.mean(knn_predict(queries, references, reference_labels, k) == names))
