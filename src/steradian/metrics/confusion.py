"""Which class was taken for which, kept sparse: ten thousand classes are no more than their images.

Rows are true classes and columns predictions, as in scikit-learn; system C's lecture has it the other way round
(`Confusion.transposed`). A prediction of -1 is an answer withheld: it misses its class and is nobody's false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_classes

Counts = NDArray[np.int64]
Average = Literal["macro", "micro", "weighted"]

DENSE_UP_TO = 2000
"""Classes up to which the whole matrix is given (32 MB)."""


class Confused(NamedTuple):
    """``images`` of class ``true`` that were taken for ``predicted``."""

    true: int
    predicted: int
    images: int


class Scores(NamedTuple):
    """One number of each kind; see `ClassCounts` for what 0 / 0 is."""

    precision: float
    recall: float
    specificity: float
    f1: float


@dataclass(frozen=True)
class ClassCounts:
    """True and false positives and negatives of each class, int64 [C]; ``a + b`` counts both parts.

    A ratio 0 / 0 is 0 for precision (nothing was named so), recall (nothing is so) and F1, as in scikit-learn, and 1
    for specificity (nothing could have been named so wrongly).
    """

    tp: Counts
    fp: Counts
    fn: Counts
    tn: Counts

    @classmethod
    def of_flags(cls, truth: ArrayLike, predicted: ArrayLike) -> ClassCounts:
        """Of multi-label answers: bool [N, C] each."""
        true, said = np.asarray(truth), np.asarray(predicted)
        if true.ndim != 2 or true.shape != said.shape or true.dtype != np.bool_ or said.dtype != np.bool_:
            raise InputError(
                f"multi-label answers are two bool arrays [N, C], but came as {true.dtype} {list(true.shape)} and "
                f"{said.dtype} {list(said.shape)}."
            )
        return cls(*(found.sum(axis=0) for found in (true & said, ~true & said, true & ~said, ~true & ~said)))

    def __add__(self, other: ClassCounts) -> ClassCounts:
        if len(self.tp) != len(other.tp):
            raise InputError(f"counts of {len(self.tp)} and of {len(other.tp)} classes cannot be added.")
        return ClassCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def support(self) -> Counts:
        """Images of each class."""
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
        """Over classes.

        "macro" is the plain mean over classes that were true or named, "weighted" the mean by support, "micro" comes
        from the summed counts.
        """
        if how not in ("macro", "micro", "weighted"):
            raise InputError(f"average must be 'macro', 'micro' or 'weighted', but is {how!r}.")
        met = (self.support + self.fp) > 0
        if not met.any():
            raise InputError("there is nothing to average: no class was true or named.")
        if how == "micro":
            total = ClassCounts(*(counts.sum(keepdims=True) for counts in (self.tp, self.fp, self.fn, self.tn)))
            return Scores(*(float(found[0]) for found in total._ratios))
        weights = met.astype(np.float64) if how == "macro" else self.support.astype(np.float64)
        return Scores(*(float(np.average(found, weights=weights)) for found in self._ratios))

    @property
    def _ratios(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.precision, self.recall, self.specificity, self.f1


def _ratio(part: Counts, whole: Counts, empty: float) -> Floats:
    found: Floats = np.where(whole > 0, part / np.maximum(whole, 1), empty)
    return found


@dataclass(frozen=True)
class Confusion:
    """Counts of (true class, prediction); ``a + b`` counts both parts.

    Attributes:
        num_classes: C.
        true, predicted: int64 [P], the pairs that occur, sorted; predicted is -1 for an answer withheld.
        counts: int64 [P].
    """

    num_classes: int
    true: Counts
    predicted: Counts
    counts: Counts

    @classmethod
    def of(cls, labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> Confusion:
        """From labels [N] in 0..C-1 and predictions [N] in -1..C-1."""
        true, said = as_classes(labels, num_classes), as_classes(predictions, num_classes, "prediction", least=-1)
        if len(true) != len(said):
            raise InputError(f"{len(true)} labels came with {len(said)} predictions; one each is needed.")
        ones = np.ones(len(true), dtype=np.int64)
        return cls(num_classes, *_grouped(true.astype(np.int64), said.astype(np.int64), ones, num_classes))

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
        """Images."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose prediction is their class."""
        return float(self._some().counts[self.true == self.predicted].sum() / self.total)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        counts = self._some().per_class()
        return float(counts.recall[counts.support > 0].mean())

    def _some(self) -> Confusion:
        if self.total == 0:
            raise InputError("there are no predictions: nothing to measure.")
        return self

    def per_class(self) -> ClassCounts:
        """Each class against the rest."""
        size, right = self.num_classes, self.true == self.predicted
        named = self.predicted >= 0
        tp = _summed(self.true[right], self.counts[right], size)
        fn = _summed(self.true, self.counts, size) - tp
        fp = _summed(self.predicted[named], self.counts[named], size) - tp
        return ClassCounts(tp, fp, fn, self.total - tp - fn - fp)

    def matrix(self) -> Counts:
        """int64 [C, C], rows true; answers withheld are left out.

        Raises:
            InputError: more than `DENSE_UP_TO` classes.
        """
        if self.num_classes > DENSE_UP_TO:
            raise InputError(
                f"a matrix of {self.num_classes:,} classes is not built whole (at most {DENSE_UP_TO:,}): use `true`, "
                "`predicted` and `counts`, or `most_confused`."
            )
        found = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        named = self.predicted >= 0
        found[self.true[named], self.predicted[named]] = self.counts[named]
        return found

    def transposed(self) -> Counts:
        """The matrix as system C draws it: rows are predictions, columns true classes."""
        return self.matrix().T

    def most_confused(self, count: int = 20) -> list[Confused]:
        """The most frequent mistakes, the largest first; equal ones by class."""
        wrong = np.flatnonzero((self.true != self.predicted) & (self.predicted >= 0))
        first = wrong[np.argsort(-self.counts[wrong], kind="stable")][:count]
        return [Confused(*map(int, row)) for row in zip(*(column[first] for column in self._columns), strict=True)]


def _grouped(true: Counts, predicted: Counts, counts: Counts, size: int) -> tuple[Counts, Counts, Counts]:
    keys, place = np.unique(true * (size + 1) + predicted + 1, return_inverse=True)
    return keys // (size + 1), keys % (size + 1) - 1, _summed(place, counts, len(keys))


def _summed(index: NDArray[np.integer], counts: Counts, size: int) -> Counts:
    found = np.zeros(size, dtype=np.int64)
    np.add.at(found, index, counts)
    return found
