"""How often the right class comes first, or among the first k."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Ints, as_classes, as_labels, as_rows


def true_ranks(scores: ArrayLike, labels: ArrayLike) -> Ints:
    """Rank [N] of the true class in each row of ``scores`` [N, C], from 0; ties count against it.

    A score that equals another's is not evidence for the true class, so the rank is the number of *other*
    classes that score at least as high.

    Raises:
        InputError: shapes that do not fit, values that are not finite, labels outside 0..C-1.
    """
    scores = as_rows(scores, as_labels(labels), "scores")
    labels = as_classes(labels, scores.shape[1])
    own = scores[np.arange(len(labels)), labels]
    ranks: Ints = (scores >= own[:, None]).sum(axis=1) - 1
    return ranks


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Share of rows of ``scores`` [N, C] whose true class is among the k highest (see `true_ranks`)."""
    if k < 1:
        raise InputError(f"k must be at least 1, but is {k}.")
    return float(np.mean(true_ranks(scores, labels) < k))


def accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Share of rows of ``scores`` [N, C] whose true class scores highest."""
    return top_k_accuracy(scores, labels, k=1)


def mean_true_rank(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean rank of the true class from 0 (see `true_ranks`), lower is better: system A's "top-K"."""
    return float(np.mean(true_ranks(scores, labels)))
