"""Compute top-1 and top-k accuracy and the rank of the true class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_classes, as_labels, as_rows


def true_ranks(scores: ArrayLike, labels: ArrayLike) -> Ints:
    """Return the rank [N], from 0, of the true class in each row of ``scores`` [N, C]; ties count against it.

    A tie is not evidence for the true class, so the rank is the number of *other* classes that score at least as high.

    Raises:
        InputError: shapes do not match, values are not finite, or labels are outside 0..C-1.
    """
    scores = as_rows(scores, as_labels(labels), "scores")
    labels = as_classes(labels, scores.shape[1])
    true_scores = scores[np.arange(len(labels)), labels]
    ranks: Ints = (scores >= true_scores[:, None]).sum(axis=1) - 1
    return ranks


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Return the share of rows of ``scores`` [N, C] whose true class is among the k highest (see `true_ranks`)."""
    if k < 1:
        raise InputError(f"k must be at least 1, but is {k}.")
    return float(np.mean(true_ranks(scores, labels) < k))


def accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of rows of ``scores`` [N, C] whose true class scores highest."""
    return top_k_accuracy(scores, labels, k=1)


def mean_true_rank(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean rank, from 0, of the true class (see `true_ranks`), lower is better: system A's "top-K"."""
    return float(np.mean(true_ranks(scores, labels)))
