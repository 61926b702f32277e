"""Count predictions by true class in a sparse confusion matrix, so that memory does not grow with the classes.

Rows are true classes and columns are predictions, as in scikit-learn; system C's lecture transposes them
(`Confusion.transposed`). A prediction of -1 is an abstention: a false negative of its class, and no false positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_classes, sums_by_group

Counts = NDArray[np.int64]
Average = Literal["macro", "micro", "weighted"]

DENSE_UP_TO = 2000
"""Largest number of classes for which a dense matrix is built (32 MB)."""


class Confused(NamedTuple):
    """A number of ``images`` of class ``true`` that were predicted as ``predicted``."""

    true: int
    predicted: int
    images: int


class Scores(NamedTuple):
    """Precision, recall, specificity and F1; `ClassCounts` defines the value of 0 / 0."""

    precision: float
    recall: float
    specificity: float
    f1: float


@dataclass(frozen=True)
class ClassCounts:
    """True and false positives and negatives of each class, int64 [C]; ``a + b`` merges two parts.

    A ratio 0 / 0 is 0 for precision (the class was never predicted), recall (it has no images) and F1, as in
    scikit-learn, and 1 for specificity (no false positive was possible).
    """

    tp: Counts
    fp: Counts
    fn: Counts
    tn: Counts

    @classmethod
    def of_flags(cls, predictions: ArrayLike, labels: ArrayLike) -> ClassCounts:
        """Count multi-label predictions: both arguments are bool [N, C]."""
        true, named = np.asarray(labels), np.asarray(predictions)
        if true.ndim != 2 or true.shape != named.shape or true.dtype != np.bool_ or named.dtype != np.bool_:
            raise InputError(
                f"multi-label input must be two bool arrays [N, C], but came as {true.dtype} {list(true.shape)} and "
                f"{named.dtype} {list(named.shape)}."
            )
        return cls(*(flags.sum(axis=0) for flags in (true & named, ~true & named, true & ~named, ~true & ~named)))

    def __add__(self, other: ClassCounts) -> ClassCounts:
        if len(self.tp) != len(other.tp):
            raise InputError(f"counts of {len(self.tp)} and of {len(other.tp)} classes cannot be added.")
        return ClassCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def support(self) -> Counts:
        """Number of images of each class."""
        return self.tp + self.fn

    @property
    def precision(self) -> Floats:
        """TP / (TP + FP)."""
        return _ratio(self.tp, self.tp + self.fp, 0.0)

    @property
    def recall(self) -> Floats:
        """TP / (TP + FN), also called sensitivity."""
        return _ratio(self.tp, self.tp + self.fn, 0.0)

    @property
    def specificity(self) -> Floats:
        """TN / (TN + FP)."""
        return _ratio(self.tn, self.tn + self.fp, 1.0)

    @property
    def f1(self) -> Floats:
        """2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, 0.0)

    def average(self, how: Average) -> Scores:
        """Average the scores over classes.

        "macro" is the plain mean over classes with an image or a prediction, "weighted" is the mean by support, and
        "micro" uses the summed counts.
        """
        if how not in ("macro", "micro", "weighted"):
            raise InputError(f"average must be 'macro', 'micro' or 'weighted', but is {how!r}.")
        present = (self.support + self.fp) > 0
        if not present.any():
            raise InputError("there is nothing to average: no class has an image or a prediction.")
        if how == "micro":
            total = ClassCounts(*(counts.sum(keepdims=True) for counts in (self.tp, self.fp, self.fn, self.tn)))
            return Scores(*(float(ratio[0]) for ratio in total._ratios))
        weights = present.astype(np.float64) if how == "macro" else self.support.astype(np.float64)
        return Scores(*(float(np.average(ratio, weights=weights)) for ratio in self._ratios))

    @property
    def _ratios(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.precision, self.recall, self.specificity, self.f1


def _ratio(part: Counts, total: Counts, empty: float) -> Floats:
    return np.where(total > 0, part / np.maximum(total, 1), empty)


@dataclass(frozen=True)
class Confusion:
    """Counts of (true class, prediction) pairs; ``a + b`` merges two parts.

    Attributes:
        num_classes: C.
        true, predicted: int64 [P], the pairs that occur, sorted; predicted is -1 for an abstention.
        counts: int64 [P].
    """

    num_classes: int
    true: Counts
    predicted: Counts
    counts: Counts

    @classmethod
    def of(cls, predictions: ArrayLike, labels: ArrayLike, num_classes: int) -> Confusion:
        """Count predictions [N] in -1..C-1 with labels [N] in 0..C-1; -1 is an abstention."""
        true, answers = as_classes(labels, num_classes), as_classes(predictions, num_classes, "prediction", least=-1)
        if len(true) != len(answers):
            raise InputError(f"{len(true)} labels came with {len(answers)} predictions; give one prediction per label.")
        ones = np.ones(len(true), dtype=np.int64)
        return cls(num_classes, *_grouped(true.astype(np.int64), answers.astype(np.int64), ones, num_classes))

    def __add__(self, other: Confusion) -> Confusion:
        if self.num_classes != other.num_classes:
            raise InputError(f"counts of {self.num_classes} and of {other.num_classes} classes cannot be added.")
        true, predicted, counts = (np.concatenate([a, b]) for a, b in zip(self._columns, other._columns, strict=True))
        return Confusion(self.num_classes, *_grouped(true, predicted, counts, self.num_classes))

    @property
    def _columns(self) -> tuple[Counts, Counts, Counts]:
        return self.true, self.predicted, self.counts

    @property
    def total(self) -> int:
        """Number of images."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of images that are predicted correctly."""
        return float(self._require_predictions().counts[self.true == self.predicted].sum() / self.total)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        counts = self._require_predictions().per_class()
        return float(counts.recall[counts.support > 0].mean())

    def _require_predictions(self) -> Confusion:
        if self.total == 0:
            raise InputError("there are no predictions, so there is nothing to measure: give at least one.")
        return self

    def per_class(self) -> ClassCounts:
        """Count each class against all others."""
        size, correct = self.num_classes, self.true == self.predicted
        answered = self.predicted >= 0
        tp = sums_by_group(self.counts[correct], self.true[correct], size)
        fn = sums_by_group(self.counts, self.true, size) - tp
        fp = sums_by_group(self.counts[answered], self.predicted[answered], size) - tp
        return ClassCounts(tp, fp, fn, self.total - tp - fn - fp)

    def matrix(self) -> Counts:
        """Return the dense matrix int64 [C, C], rows true; abstentions are left out.

        Raises:
            InputError: there are more than `DENSE_UP_TO` classes.
        """
        if self.num_classes > DENSE_UP_TO:
            raise InputError(
                f"a dense matrix of {self.num_classes:,} classes is too large (at most {DENSE_UP_TO:,}): use `true`, "
                "`predicted` and `counts`, or `most_confused`."
            )
        dense = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        answered = self.predicted >= 0
        dense[self.true[answered], self.predicted[answered]] = self.counts[answered]
        return dense

    def transposed(self) -> Counts:
        """Return the matrix as system C draws it: rows are predictions, columns are true classes."""
        return self.matrix().T

    def most_confused(self, count: int = 20) -> list[Confused]:
        """Return the most frequent mistakes, the largest first; ties are ordered by class."""
        wrong = np.flatnonzero((self.true != self.predicted) & (self.predicted >= 0))
        first = wrong[np.argsort(-self.counts[wrong], kind="stable")][:count]
        return [Confused(*map(int, row)) for row in zip(*(column[first] for column in self._columns), strict=True)]


def _grouped(true: Counts, predicted: Counts, counts: Counts, size: int) -> tuple[Counts, Counts, Counts]:
    keys, group = np.unique(true * (size + 1) + predicted + 1, return_inverse=True)
    return keys // (size + 1), keys % (size + 1) - 1, sums_by_group(counts, group, len(keys))
