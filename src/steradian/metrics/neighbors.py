"""The nearest neighbors by cosine and what they vote for, without an N x M matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels
from steradian.metrics.tiles import nearest, unit_vectors


class Neighbors(NamedTuple):
    """The k nearest references of each query, nearest first: cosines [N, k] and places int64 [N, k]."""

    cosine: Floats
    place: Ints


def nearest_neighbors(queries: ArrayLike, references: ArrayLike, k: int) -> Neighbors:
    """The k references [M, D] with the highest cosine to each query [N, D]; of equal ones the first.

    Raises:
        InputError: k below 1 or above M; shapes that do not fit.
    """
    given, others = np.asarray(queries), np.asarray(references)
    found = nearest(
        unit_vectors(given, np.zeros(len(given), dtype=int), "queries"),
        unit_vectors(others, np.zeros(len(others), dtype=int), "references"),
        k,
    )
    return Neighbors(found.cosine.numpy(), found.place.numpy())


def knn_predict(queries: ArrayLike, references: ArrayLike, reference_labels: ArrayLike, k: int = 5) -> Ints:
    """Labels [N] by vote of the k references of the highest cosine, each vote weighing 1 + its cosine.

    Ties go to the label that comes first in sorted order.

    Args:
        queries: float [N, D].
        references: float [M, D].
        reference_labels: int [M].
        k: number of neighbors, at least 1; more than M means all M.
    """
    known = as_labels(reference_labels, "reference_labels")
    if len(known) != len(np.asarray(references)):
        raise InputError(f"{len(np.asarray(references))} references came with {len(known)} labels; one each is needed.")
    if k < 1:
        raise InputError(f"k must be at least 1, but is {k}.")
    found = nearest_neighbors(queries, references, min(k, len(known)))
    named = known[found.place]
    order = np.argsort(named, axis=1, kind="stable")
    named = np.take_along_axis(named, order, axis=1)
    votes = np.take_along_axis(found.cosine.astype(np.float64) + 1.0, order, axis=1)
    sums = np.stack([np.where(named == named[:, [place]], votes, 0.0).sum(axis=1) for place in range(named.shape[1])])
    # Labels rise, so that the first of the highest sums is that of the smallest label.
    predicted: Ints = named[np.arange(len(named)), sums.argmax(axis=0)]
    return predicted


def knn_accuracy(
    queries: ArrayLike, labels: ArrayLike, references: ArrayLike, reference_labels: ArrayLike, k: int = 5
) -> float:
    """Share of ``queries`` [N, D] whose label `knn_predict` names."""
    names = as_labels(labels)
    if len(names) != len(np.asarray(queries)):
        raise InputError(f"{len(np.asarray(queries))} queries came with {len(names)} labels; one each is needed.")
    return float(np.mean(knn_predict(queries, references, reference_labels, k) == names))
