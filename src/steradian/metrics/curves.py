"""Compute ROC, precision-recall and DET curves, their areas, and thresholds for a required recall or precision.

A threshold t accepts scores >= t. All curves use one count of positives and negatives per distinct score, so ties are
one step, and parts of the data can be counted separately and added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_flags, as_scores

Counts = NDArray[np.int64]


class Roc(NamedTuple):
    """Rates [T + 1] from the strictest threshold (infinity, which accepts nothing) to the most lenient.

    ``false_positive_rate`` is 1 - specificity (FAR in verification); ``true_positive_rate`` is recall (TAR).
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats

    @property
    def false_negative_rate(self) -> Floats:
        """1 - recall; plotted against the false-positive rate it is the DET curve (Martin et al. 1997)."""
        return 1.0 - self.true_positive_rate


class PrecisionRecall(NamedTuple):
    """Precision and recall [T] by falling threshold, without the point (1, 0), which no threshold reaches."""

    precision: Floats
    recall: Floats
    thresholds: Floats


class EqualError(NamedTuple):
    """The equal error rate and its threshold."""

    rate: float
    threshold: float


class Chosen(NamedTuple):
    """A threshold and its rates on the data that it was chosen on."""

    threshold: float
    true_positive_rate: float
    false_positive_rate: float
    precision: float


@dataclass(frozen=True)
class ScoreCounts:
    """Number of positives and negatives with each score.

    Attributes:
        scores: [T], distinct, in falling order.
        positives, negatives: int64 [T].
    """

    scores: Floats
    positives: Counts
    negatives: Counts

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> ScoreCounts:
        """Count scores [N] with flags ``labels`` [N]."""
        values = as_scores(scores)
        flags = as_flags(labels, len(values), "labels")
        return _counted(values, flags.astype(np.int64), (~flags).astype(np.int64))

    @classmethod
    def of_parts(cls, positives: ArrayLike, negatives: ArrayLike) -> ScoreCounts:
        """Count the scores of positives [P] and of negatives [Q]."""
        p, q = as_scores(positives, "positives"), as_scores(negatives, "negatives")
        flags = np.arange(len(p) + len(q)) < len(p)
        return _counted(np.concatenate([p, q]), flags.astype(np.int64), (~flags).astype(np.int64))

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """Return the counts of both parts together."""
        return _counted(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.positives, other.positives]),
            np.concatenate([self.negatives, other.negatives]),
        )

    def both(self) -> tuple[int, int]:
        """Return the total number of positives and of negatives.

        Raises:
            InputError: there are no positives or no negatives.
        """
        total = int(self.positives.sum()), int(self.negatives.sum())
        if 0 in total:
            raise InputError(f"{total[0]} positives and {total[1]} negatives came, but a curve needs both.")
        return total

    def roc(self) -> Roc:
        """See `roc`."""
        positives, negatives = self.both()
        return Roc(
            np.concatenate([[0.0], np.cumsum(self.negatives) / negatives]),
            np.concatenate([[0.0], np.cumsum(self.positives) / positives]),
            np.concatenate([[np.inf], self.scores]),
        )

    def precision_recall(self) -> PrecisionRecall:
        """See `precision_recall`."""
        hits = np.cumsum(self.positives)
        if len(hits) == 0 or hits[-1] == 0:
            raise InputError("there is no positive, but recall needs at least one: check the labels.")
        return PrecisionRecall(hits / (hits + np.cumsum(self.negatives)), hits / hits[-1], self.scores)

    def auc(self) -> float:
        """See `roc_auc`."""
        positives, negatives = self.both()
        above = np.cumsum(self.positives) - self.positives
        return float((self.negatives * (above + 0.5 * self.positives)).sum() / (positives * negatives))

    def equal_error(self) -> EqualError:
        """Return the equal error rate: the mean of the false-accept and false-reject rates where they are closest."""
        curve = self.roc()
        missed = curve.false_negative_rate
        best = int(np.argmin(np.abs(missed - curve.false_positive_rate)))
        rate = float(missed[best] + curve.false_positive_rate[best]) / 2.0
        return EqualError(rate, float(curve.thresholds[best]))

    def average_precision(self) -> float:
        """See `average_precision`."""
        curve = self.precision_recall()
        return float((np.diff(curve.recall, prepend=0.0) * curve.precision).sum())

    def chosen(self, index: int) -> Chosen:
        """Return the threshold at ``index`` of `scores`, with its rates."""
        hits, wrong = int(self.positives[: index + 1].sum()), int(self.negatives[: index + 1].sum())
        positives, negatives = int(self.positives.sum()), int(self.negatives.sum())
        return Chosen(
            float(self.scores[index]), _ratio(hits, positives), _ratio(wrong, negatives), _ratio(hits, hits + wrong)
        )


def _ratio(part: int, total: int) -> float:
    return part / total if total else math.nan


def _counted(scores: Floats, positives: Counts, negatives: Counts) -> ScoreCounts:
    order = np.argsort(scores)[::-1]
    falling = scores[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], np.ones(min(1, len(falling)), dtype=bool)))
    grouped = (np.diff(np.cumsum(counts[order])[last], prepend=0) for counts in (positives, negatives))
    return ScoreCounts(falling[last], *grouped)


def roc(scores: ArrayLike, labels: ArrayLike) -> Roc:
    """Compute the receiver operating characteristic at every threshold of ``scores`` [N]; ``labels`` is bool [N].

    Raises:
        InputError: a score is NaN, the lengths differ, or there is no positive or no negative.
    """
    return ScoreCounts.of(scores, labels).roc()


def precision_recall(scores: ArrayLike, labels: ArrayLike) -> PrecisionRecall:
    """Compute precision and recall at every threshold of ``scores`` [N]; ``labels`` is bool [N]."""
    return ScoreCounts.of(scores, labels).precision_recall()


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the probability that a positive scores above a negative; ties count half (Mann and Whitney 1947)."""
    return ScoreCounts.of(scores, labels).auc()


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return sum_t (R_t - R_(t-1)) P_t over falling thresholds: the area under the uninterpolated PR curve."""
    return ScoreCounts.of(scores, labels).average_precision()


def _required_share(share: float, name: str) -> float:
    if not 0.0 < share <= 1.0:
        raise InputError(f"{name} must be above 0 and at most 1, but is {share}.")
    # Rounding must not make a share such as 2/3 fail.
    return share * (1 - 1e-12)


def youden_threshold(scores: ArrayLike, labels: ArrayLike) -> Chosen:
    """Return the threshold with the largest TPR - FPR (Youden 1950); among ties the strictest."""
    counts = ScoreCounts.of(scores, labels)
    curve = counts.roc()
    return counts.chosen(int(np.argmax((curve.true_positive_rate - curve.false_positive_rate)[1:])))


def threshold_for_recall(scores: ArrayLike, labels: ArrayLike, recall: float) -> Chosen:
    """Return the strictest threshold with at least ``recall``."""
    counts = ScoreCounts.of(scores, labels)
    enough = counts.precision_recall().recall >= _required_share(recall, "recall")
    return counts.chosen(int(np.argmax(enough)))


def threshold_for_precision(scores: ArrayLike, labels: ArrayLike, precision: float) -> Chosen | None:
    """Return the lowest threshold with at least ``precision``, for the most recall, or None if there is none."""
    counts = ScoreCounts.of(scores, labels)
    enough = counts.precision_recall().precision >= _required_share(precision, "precision")
    return counts.chosen(int(np.flatnonzero(enough)[-1])) if enough.any() else None
