"""Measure closed-set classification from scores: accuracy, ranks, and one-versus-rest areas of each class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_classes, as_labels, as_rows
from steradian.metrics.confusion import Confusion

CLASSES_AT_ONCE = 64


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


class Areas(NamedTuple):
    """Area under the ROC curve, and average precision; NaN if undefined for lack of positives or negatives."""

    auc: float
    average_precision: float


@dataclass(frozen=True)
class ClosedSet:
    """Closed-set metrics of a table of scores.

    Attributes:
        confusion: counts of predictions; the prediction is the class with the highest score, the first of equal ones.
        ranks: [N], rank of the true class, from 0; ties count against it.
        auc, average_precision: [C], each class against the rest by its column; NaN for a class without images.
        micro: areas of all N x C scores together.
    """

    confusion: Confusion
    ranks: Ints
    auc: Floats
    average_precision: Floats
    micro: Areas

    def top_k(self, k: int) -> float:
        """Return the share of images whose true class is among the k highest."""
        return float(np.mean(self.ranks < k))

    @property
    def macro(self) -> Areas:
        """Mean areas over the classes that have images."""
        return Areas(*(_mean_of_known(values) for values in (self.auc, self.average_precision)))


def closed_set(scores: ArrayLike, labels: ArrayLike) -> ClosedSet:
    """Measure scores [N, C] (logits, cosines or probabilities: larger is more confident) with labels int [N] in 0..C-1.

    Raises:
        InputError: shapes do not match, values are not finite, or labels are outside 0..C-1.
    """
    names = as_labels(labels)
    values = as_rows(scores, names, "scores")
    ranks = true_ranks(values, names)
    classes = values.shape[1]
    areas = np.empty((classes, 2))
    for first in range(0, classes, CLASSES_AT_ONCE):
        columns = np.sort(np.ascontiguousarray(values[:, first : first + CLASSES_AT_ONCE].T), axis=1)
        for number, column in enumerate(columns, start=first):
            areas[number] = _areas(column, np.sort(values[names == number, number]))
    micro = _areas(np.sort(values, axis=None), np.sort(values[np.arange(len(names)), names]))
    confusion = Confusion.of(values.argmax(axis=1), names, classes)
    return ClosedSet(confusion, ranks, areas[:, 0], areas[:, 1], micro)


def _mean_of_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _areas(all_scores: Floats, positives: Floats) -> Areas:
    """Compute `curves.roc_auc` and `average_precision` from sorted scores of all images and of the positives."""
    count, others = len(positives), len(all_scores) - len(positives)
    if count == 0:
        return Areas(math.nan, math.nan)
    below, up_to = (np.searchsorted(all_scores, positives, side=side) for side in ("left", "right"))
    positives_below, positives_up_to = (np.searchsorted(positives, positives, side=side) for side in ("left", "right"))
    precision = (count - positives_below) / (len(all_scores) - below)
    won = (below - positives_below) + 0.5 * ((up_to - below) - (positives_up_to - positives_below))
    auc = float(won.sum() / (count * others)) if others else math.nan
    return Areas(auc, float(precision.mean()))
