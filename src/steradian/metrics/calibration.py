"""Whether a probability means what it says: ECE, Brier, likelihood, and what mends it, fitted on held-out data."""

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
    """Bins that hold something, [B] each: mean confidence, share right, how many."""

    confidence: Floats
    accuracy: Floats
    images: Ints

    @property
    def error(self) -> float:
        """sum_b n_b / N |share right - mean confidence|: the expected calibration error."""
        return float((np.abs(self.accuracy - self.confidence) * self.images).sum() / self.images.sum())


def as_probabilities(probabilities: ArrayLike, labels: Ints) -> Floats:
    """float64 [N, C] whose rows sum to 1, or `InputError`."""
    found = as_rows(probabilities, labels, "probabilities").astype(np.float64)
    sums = found.sum(axis=1)
    bad = (np.abs(sums - 1.0) > SLACK) | (found.min(axis=1) < 0.0)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"row {row} of the probabilities sums to {sums[row]:.6g} or holds a negative one; every row must sum to 1."
        )
    return found


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = 15, binning: Binning = "width") -> ReliabilityBins:
    """Confidence against the share that is right.

    Args:
        confidence: [N] from 0 to 1, such as the probability of the answer; ``right`` bool [N].
        binning: "width" makes bins (lo, hi] of equal width, the first with its 0; "mass" bins of equal counts, in which
            equal confidences stay together.
    """
    scores = as_scores(confidence, "confidence").astype(np.float64)
    flags = as_flags(right, len(scores), "right")
    if len(scores) == 0 or bins < 1:
        raise InputError(f"{len(scores)} confidences in {bins} bins: at least one of each is needed.")
    if scores.min() < 0.0 or scores.max() > 1.0 + SLACK:
        raise InputError(f"confidences must be from 0 to 1, but reach from {scores.min():g} to {scores.max():g}.")
    if binning == "width":
        place = (np.searchsorted(np.linspace(0.0, 1.0, bins + 1), scores) - 1).clip(0, bins - 1)
    elif binning == "mass":
        first = np.searchsorted(np.sort(scores), scores, side="left")
        place = first * bins // len(scores)
    else:
        raise InputError(f"binning must be 'width' or 'mass', but is {binning!r}.")
    count = np.bincount(place, minlength=bins)
    some = count > 0
    sums, hits = np.bincount(place, scores, bins), np.bincount(place, flags, bins)
    return ReliabilityBins(sums[some] / count[some], hits[some] / count[some], count[some])


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15, binning: Binning = "width"
) -> float:
    """sum_b n_b / N |share right - mean confidence| of the answers (Naeini et al. 2015, Guo et al. 2017).

    Args:
        probabilities: [N, C], rows summing to 1; of a margin loss those of its margin-free logits.
        labels: int [N].
    """
    found, right = _answers(probabilities, labels)
    return reliability(found, right, bins, binning).error


def _answers(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    names = as_labels(labels)
    found = as_probabilities(probabilities, names)
    as_classes(names, found.shape[1])
    return np.minimum(found.max(axis=1), 1.0), found.argmax(axis=1) == names


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of sum_j (p_j - 1[j = y])^2, from 0 to 2 (Brier 1950)."""
    names = as_labels(labels)
    found = as_probabilities(probabilities, names)
    own = found[np.arange(len(names)), as_classes(names, found.shape[1])]
    return float(((found * found).sum(axis=1) - 2.0 * own + 1.0).mean())


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log softmax(z)_y in nats, from finite logits [N, C]."""
    names = as_labels(labels)
    values = as_rows(logits, names, "logits")
    return float(-log_softmax(values)[np.arange(len(names)), as_classes(names, values.shape[1])].mean())


COLDEST, HOTTEST = 1e-3, 1e3


def fit_temperature(logits: ArrayLike, labels: ArrayLike, doubt: float = 0.0) -> float:
    """T > 0 for which softmax(z / T) is the most likely on these held-out logits [N, C] (Guo et al. 2017).

    The ranking of classes stays as it is. T lies between `COLDEST` and `HOTTEST`: logits that are never wrong would
    have it at 0, and such that say nothing at infinity.

    Args:
        doubt: share of the truth that is given to the other classes, evenly. 1 / (N + 2) is what never having been
            wrong in N images leaves open (Laplace; Platt 1999 for two classes), and keeps T from 0.
    """
    names = as_labels(labels)
    values = as_rows(logits, names, "logits").astype(np.float64)
    as_classes(names, values.shape[1])
    values -= values.max(axis=1, keepdims=True)
    if not 0.0 <= doubt < 1.0:
        raise InputError(f"doubt must be at least 0 and below 1, but is {doubt}.")
    truth = values[np.arange(len(names)), names]
    others = (values.sum(axis=1) - truth) / max(values.shape[1] - 1, 1)
    own = ((1.0 - doubt) * truth + doubt * others).mean()

    def slope(log_t: float) -> float:
        """Of the likelihood by 1 / T, which falls only once: it is the expected logit less that of the truth."""
        shares = np.exp(values * math.exp(-log_t))
        expected = np.einsum("ij,ij->i", shares, values) / shares.sum(axis=1)
        return float(expected.mean() - own)

    low, high = math.log(COLDEST), math.log(HOTTEST)
    if slope(low) <= 0.0:
        return COLDEST
    if slope(high) >= 0.0:
        return HOTTEST
    return math.exp(brentq(slope, low, high, xtol=1e-9))


@dataclass(frozen=True)
class IsotonicScore:
    """A rising step-wise line from scores to probabilities: knots [K], probabilities [K]."""

    knots: Floats
    probabilities: Floats

    def __call__(self, scores: ArrayLike) -> Floats:
        """Probabilities [N] of scores [N]; beyond the knots those at the ends."""
        found: Floats = np.interp(as_scores(scores), self.knots, self.probabilities)
        return found


def fit_isotonic(scores: ArrayLike, right: ArrayLike, weights: ArrayLike | None = None) -> IsotonicScore:
    """Probability of being right as a rising function of a score (Zadrozny and Elkan 2002), by scikit-learn.

    Args:
        scores: [N] of held-out data, such as cosines of pairs; ``right`` bool [N], such as one person or not.
        weights: [N], positive, how much each counts; None: all the same. Weights that give right and wrong ones the
            same sum make the probability one at even odds.
    """
    found = as_scores(scores).astype(np.float64)
    flags = as_flags(right, len(found), "right")
    if len(found) < 2 or not np.isfinite(found).all():
        raise InputError(f"{len(found)} scores came, of which two at least are needed, all finite, to fit a curve to.")
    heavy = None if weights is None else as_scores(weights, "weights").astype(np.float64)
    if heavy is not None and (len(heavy) != len(found) or heavy.min() <= 0.0 or not np.isfinite(heavy).all()):
        raise InputError(f"weights must be {len(found)} positive numbers, one for each score.")
    regression = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fitted = regression.fit(found, flags.astype(np.float64), sample_weight=heavy)
    return IsotonicScore(fitted.X_thresholds_, fitted.y_thresholds_)
