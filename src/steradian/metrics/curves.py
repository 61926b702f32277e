"""What a threshold on a score costs: ROC, precision-recall and DET curves, their areas, and thresholds to choose.

A threshold t accepts scores >= t. All curves come from one count of positives and negatives by distinct score, so ties
are one step, and parts of the data can be counted apart and added.
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
    """Rates [T + 1] from the strictest threshold (infinity: nothing accepted) to the laxest.

    ``false_positive_rate`` is 1 - specificity (FAR in verification), ``true_positive_rate`` recall (TAR).
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats

    @property
    def false_negative_rate(self) -> Floats:
        """1 - recall; against the false-positive rate it is the DET curve (Martin et al. 1997)."""
        missed: Floats = 1.0 - self.true_positive_rate
        return missed


class PrecisionRecall(NamedTuple):
    """Precision and recall [T] by falling threshold; without the point (1, 0), which no threshold reaches."""

    precision: Floats
    recall: Floats
    thresholds: Floats


class EqualError(NamedTuple):
    """The equal error rate and its threshold."""

    rate: float
    threshold: float


class Chosen(NamedTuple):
    """A threshold and what it does to the data that it was chosen on."""

    threshold: float
    true_positive_rate: float
    false_positive_rate: float
    precision: float


@dataclass(frozen=True)
class ScoreCounts:
    """How many positives and negatives have each score.

    Attributes:
        scores: [T] distinct, falling.
        positives, negatives: int64 [T].
    """

    scores: Floats
    positives: Counts
    negatives: Counts

    @classmethod
    def of(cls, scores: ArrayLike, positive: ArrayLike) -> ScoreCounts:
        """From scores [N] and whether each is of a positive [N]."""
        found = as_scores(scores)
        flags = as_flags(positive, len(found), "positive")
        return _counted(found, flags.astype(np.int64), (~flags).astype(np.int64))

    @classmethod
    def of_parts(cls, positives: ArrayLike, negatives: ArrayLike) -> ScoreCounts:
        """From the scores of positives [P] and of negatives [Q]."""
        p, q = as_scores(positives, "positives"), as_scores(negatives, "negatives")
        flags = np.arange(len(p) + len(q)) < len(p)
        return _counted(np.concatenate([p, q]), flags.astype(np.int64), (~flags).astype(np.int64))

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """The counts of both parts."""
        return _counted(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.positives, other.positives]),
            np.concatenate([self.negatives, other.negatives]),
        )

    def both(self) -> tuple[int, int]:
        """Positives and negatives in all.

        Raises:
            InputError: there are none of one of the two.
        """
        total = int(self.positives.sum()), int(self.negatives.sum())
        if 0 in total:
            raise InputError(f"{total[0]} positives and {total[1]} negatives came: a curve needs both.")
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
            raise InputError("there is no positive: recall needs one.")
        return PrecisionRecall(hits / (hits + np.cumsum(self.negatives)), hits / hits[-1], self.scores)

    def auc(self) -> float:
        """See `roc_auc`."""
        positives, negatives = self.both()
        above = np.cumsum(self.positives) - self.positives
        return float((self.negatives * (above + 0.5 * self.positives)).sum() / (positives * negatives))

    def equal_error(self) -> EqualError:
        """Where false accepts equal false rejects; both are steps, so the mean of the two where they are closest."""
        curve = self.roc()
        missed = curve.false_negative_rate
        best = int(np.argmin(np.abs(missed - curve.false_positive_rate)))
        rate = float(missed[best] + curve.false_positive_rate[best]) / 2.0
        return EqualError(rate, float(curve.thresholds[best]))

    def average_precision(self) -> float:
        """See `average_precision`."""
        curve = self.precision_recall()
        return float((np.diff(curve.recall, prepend=0.0) * curve.precision).sum())

    def chosen(self, place: int) -> Chosen:
        """The threshold at ``place`` in `scores`, with its rates."""
        hits, wrong = int(self.positives[: place + 1].sum()), int(self.negatives[: place + 1].sum())
        positives, negatives = int(self.positives.sum()), int(self.negatives.sum())
        return Chosen(
            float(self.scores[place]), _ratio(hits, positives), _ratio(wrong, negatives), _ratio(hits, hits + wrong)
        )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _counted(scores: Floats, positives: Counts, negatives: Counts) -> ScoreCounts:
    order = np.argsort(scores)[::-1]
    falling = scores[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], np.ones(min(1, len(falling)), dtype=bool)))

    def grouped(counts: Counts) -> Counts:
        found: NDArray[np.int64] = np.diff(np.cumsum(counts[order])[last], prepend=0)
        return found

    return ScoreCounts(falling[last], grouped(positives), grouped(negatives))


def roc(scores: ArrayLike, positive: ArrayLike) -> Roc:
    """The receiver operating characteristic: every threshold of ``scores`` [N], with ``positive`` bool [N].

    Raises:
        InputError: NaN scores, unequal lengths, no positive or no negative.
    """
    return ScoreCounts.of(scores, positive).roc()


def precision_recall(scores: ArrayLike, positive: ArrayLike) -> PrecisionRecall:
    """Precision and recall at every threshold of ``scores`` [N], with ``positive`` bool [N]."""
    return ScoreCounts.of(scores, positive).precision_recall()


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947)."""
    return ScoreCounts.of(scores, positive).auc()


def average_precision(scores: ArrayLike, positive: ArrayLike) -> float:
    """sum_t (R_t - R_(t-1)) P_t over falling thresholds: the area under precision and recall, not interpolated."""
    return ScoreCounts.of(scores, positive).average_precision()


def _wanted(share: float, name: str) -> float:
    if not 0.0 < share <= 1.0:
        raise InputError(f"{name} must be above 0 and at most 1, but is {share}.")
    # A share such as 2/3 must not fail for its last bit.
    return share * (1 - 1e-12)


def youden_threshold(scores: ArrayLike, positive: ArrayLike) -> Chosen:
    """The threshold with the largest TPR - FPR (Youden 1950); of several the strictest."""
    counts = ScoreCounts.of(scores, positive)
    curve = counts.roc()
    return counts.chosen(int(np.argmax((curve.true_positive_rate - curve.false_positive_rate)[1:])))


def threshold_for_recall(scores: ArrayLike, positive: ArrayLike, recall: float) -> Chosen:
    """The strictest threshold with at least ``recall``."""
    counts = ScoreCounts.of(scores, positive)
    enough = counts.precision_recall().recall >= _wanted(recall, "recall")
    return counts.chosen(int(np.argmax(enough)))


def threshold_for_precision(scores: ArrayLike, positive: ArrayLike, precision: float) -> Chosen | None:
    """The laxest threshold with at least ``precision``: the most recall that it allows. None where there is none."""
    counts = ScoreCounts.of(scores, positive)
    enough = counts.precision_recall().precision >= _wanted(precision, "precision")
    return counts.chosen(int(np.flatnonzero(enough)[-1])) if enough.any() else None
