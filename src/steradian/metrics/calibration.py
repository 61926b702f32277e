"""Measure calibration (ECE, Brier score, likelihood), and fit temperature or isotonic scaling on held-out data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from sklearn.isotonic import IsotonicRegression

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_classes, as_flags, as_labels, as_rows, as_scores
from steradian.metrics.information import SLACK, log_softmax

Binning = Literal["width", "mass"]


class ReliabilityBins(NamedTuple):
    """Non-empty bins, [B] each: mean confidence, accuracy, and number of images."""

    confidence: Floats
    accuracy: Floats
    images: Ints

    @property
    def error(self) -> float:
        """The expected calibration error: sum_b n_b / N |accuracy - mean confidence|."""
        return float((np.abs(self.accuracy - self.confidence) * self.images).sum() / self.images.sum())


def as_probabilities(probabilities: ArrayLike, labels: Ints) -> Floats:
    """Return float64 [N, C]; raise `InputError` if a row does not sum to 1."""
    rows = as_rows(probabilities, labels, "probabilities").astype(np.float64)
    sums = rows.sum(axis=1)
    bad = (np.abs(sums - 1.0) > SLACK) | (rows.min(axis=1) < 0.0)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"row {row} of the probabilities sums to {sums[row]:.6g} or has a negative value; every row must sum to 1."
        )
    return rows


def reliability(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15, binning: Binning = "width"
) -> ReliabilityBins:
    """Compare confidence with accuracy, in bins.

    Args:
        confidence: [N] from 0 to 1, such as the probability of the predicted class.
        correct: bool [N], whether each prediction is correct.
        binning: "width" makes bins (lo, hi] of equal width, the first including 0; "mass" makes bins of equal counts
            and keeps equal confidences together.
    """
    scores = as_scores(confidence, "confidence").astype(np.float64)
    flags = as_flags(correct, len(scores), "correct")
    if len(scores) == 0 or bins < 1:
        raise InputError(f"{len(scores)} confidences came for {bins} bins: give at least one of each.")
    if scores.min() < 0.0 or scores.max() > 1.0 + SLACK:
        raise InputError(f"confidences must be from 0 to 1, but range from {scores.min():g} to {scores.max():g}.")
    if binning == "width":
        bin_numbers = (np.searchsorted(np.linspace(0.0, 1.0, bins + 1), scores) - 1).clip(0, bins - 1)
    elif binning == "mass":
        first = np.searchsorted(np.sort(scores), scores, side="left")
        bin_numbers = first * bins // len(scores)
    else:
        raise InputError(f"binning must be 'width' or 'mass', but is {binning!r}.")
    count = np.bincount(bin_numbers, minlength=bins)
    filled = count > 0
    sums, hits = np.bincount(bin_numbers, scores, bins), np.bincount(bin_numbers, flags, bins)
    return ReliabilityBins(sums[filled] / count[filled], hits[filled] / count[filled], count[filled])


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15, binning: Binning = "width"
) -> float:
    """Compute sum_b n_b / N |accuracy - mean confidence| (Naeini et al. 2015, Guo et al. 2017).

    Args:
        probabilities: [N, C], rows summing to 1; for a margin loss, from its logits without the margin.
        labels: int [N].
    """
    confidence, correct = _confidence_and_correct(probabilities, labels)
    return reliability(confidence, correct, bins, binning).error


def _confidence_and_correct(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    names = as_labels(labels)
    values = as_probabilities(probabilities, names)
    as_classes(names, values.shape[1])
    return np.minimum(values.max(axis=1), 1.0), values.argmax(axis=1) == names


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of sum_j (p_j - 1[j = y])^2, from 0 to 2 (Brier 1950)."""
    names = as_labels(labels)
    values = as_probabilities(probabilities, names)
    true_class = values[np.arange(len(names)), as_classes(names, values.shape[1])]
    return float(((values * values).sum(axis=1) - 2.0 * true_class + 1.0).mean())


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of -log softmax(z)_y in nats, from finite logits [N, C]."""
    names = as_labels(labels)
    values = as_rows(logits, names, "logits")
    return float(-log_softmax(values)[np.arange(len(names)), as_classes(names, values.shape[1])].mean())


COLDEST, HOTTEST = 1e-3, 1e3


def fit_temperature(logits: ArrayLike, labels: ArrayLike, doubt: float = 0.0) -> float:
    """Fit the temperature T > 0 that maximizes the likelihood of softmax(z / T) on held-out logits [N, C].

    Temperature scaling (Guo et al. 2017) keeps the ranking of classes. T is limited to `COLDEST`..`HOTTEST`: without
    the limits it would be 0 for logits that are never wrong, and infinite for uninformative ones.

    Args:
        doubt: label smoothing: the share of the true label that is spread evenly over the other classes. 1 / (N + 2)
            is the error rate to assume after no errors in N images (Laplace; Platt 1999 for two classes); it keeps T
            above 0.
    """
    names = as_labels(labels)
    values = as_rows(logits, names, "logits").astype(np.float64)
    as_classes(names, values.shape[1])
    values -= values.max(axis=1, keepdims=True)
    if not 0.0 <= doubt < 1.0:
        raise InputError(f"doubt must be at least 0 and below 1, but is {doubt}.")
    true_logits = values[np.arange(len(names)), names]
    others = (values.sum(axis=1) - true_logits) / max(values.shape[1] - 1, 1)
    target = ((1.0 - doubt) * true_logits + doubt * others).mean()

    def slope(log_t: float) -> float:
        """Return the mean expected logit minus the mean target; it falls as T grows and is 0 at the best T."""
        shares = np.exp(values * math.exp(-log_t))
        expected = np.einsum("ij,ij->i", shares, values) / shares.sum(axis=1)
        return float(expected.mean() - target)

    low, high = math.log(COLDEST), math.log(HOTTEST)
    if slope(low) <= 0.0:
        return COLDEST
    if slope(high) >= 0.0:
        return HOTTEST
    return math.exp(brentq(slope, low, high, xtol=1e-9))


@dataclass(frozen=True)
class IsotonicScore:
    """A rising piecewise-linear function from scores to probabilities: knots [K] and probabilities [K]."""

    knots: Floats
    probabilities: Floats

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the probabilities [N] of scores [N]; scores beyond the knots get the value of the nearest end."""
        return np.interp(as_scores(scores), self.knots, self.probabilities)


def fit_isotonic(scores: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None) -> IsotonicScore:
    """Fit the probability of being correct as a rising function of a score by isotonic regression.

    The method is that of Zadrozny and Elkan (2002), by scikit-learn.

    Args:
        scores: [N] of held-out data, such as cosines of pairs.
        correct: bool [N], such as whether a pair shows one person.
        weights: [N], positive sample weights; None means equal weights. If right and wrong samples have the same total
            weight, the probability is for even prior odds.
    """
    values = as_scores(scores).astype(np.float64)
    flags = as_flags(correct, len(values), "correct")
    if len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"{len(values)} scores came, but two at least are needed to fit a curve, and all finite.")
    sample_weights = None if weights is None else as_scores(weights, "weights").astype(np.float64)
    if sample_weights is not None and (
        len(sample_weights) != len(values) or sample_weights.min() <= 0.0 or not np.isfinite(sample_weights).all()
    ):
        raise InputError(f"weights must be {len(values)} finite positive numbers, one for each score.")
    regression = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fitted = regression.fit(values, flags.astype(np.float64), sample_weight=sample_weights)
    return IsotonicScore(fitted.X_thresholds_, fitted.y_thresholds_)
