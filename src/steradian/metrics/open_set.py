"""Measure open-set recognition: how well a confidence separates images of known classes from unknown ones."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steradian.errors import InputError
from steradian.metrics.checks import Floats, as_flags, as_scores
from steradian.metrics.curves import ScoreCounts
from steradian.metrics.information import softmax

Confidence = Literal["cosine", "logit", "probability"]


def confidences(logits: ArrayLike, kind: Confidence) -> Floats:
    """Return the confidence [N] of a classifier in its answers.

    Args:
        logits: float [N, C]; for "cosine" these are cosines to the class centers.
        kind: "cosine" and "logit" take the largest value (Vaze et al. 2022), "probability" the largest softmax
            probability (Hendrycks and Gimpel 2017).
    """
    values = np.asarray(logits)
    if values.ndim != 2 or values.shape[1] == 0 or not np.isfinite(values).all():
        raise InputError(f"logits must be finite numbers of shape [N, C], C > 0, but came as {list(values.shape)}.")
    if kind not in ("cosine", "logit", "probability"):
        raise InputError(f"kind must be 'cosine', 'logit' or 'probability', but is {kind!r}.")
    largest: Floats = (softmax(values) if kind == "probability" else values).max(axis=1)
    return largest


class Oscr(NamedTuple):
    """Correct classification rate against false-positive rate, by falling threshold from (0, 0), and the area."""

    false_positive_rate: Floats
    correct_classification_rate: Floats
    area: float


class OpenSet(NamedTuple):
    """Open-set metrics of one confidence; the positives are known in ``aupr_known``, unknown in ``aupr_unknown``.

    ``fpr_at_95`` is the share of unknown images accepted at the strictest threshold that accepts 95 % of known ones.
    """

    auroc: float
    aupr_known: float
    aupr_unknown: float
    fpr_at_95: float
    oscr: float


def oscr(known: ArrayLike, correct: ArrayLike, unknown: ArrayLike) -> Oscr:
    """Compute the open-set classification rate (Dhamija et al. 2018) at distinct thresholds; ties are one step.

    CCR(t) is the share of known images that are classified correctly and score >= t; FPR(t) is the share of unknown
    images that score >= t. The area equals the closed-set accuracy when known and unknown images are separated, and is
    never larger.

    Args:
        known: confidences [N] of images of known classes.
        correct: bool [N], whether each of these images is classified correctly.
        unknown: confidences [M] of images of unknown classes.
    """
    scores, others = as_scores(known, "known"), as_scores(unknown, "unknown")
    flags = as_flags(correct, len(scores), "correct")
    if len(scores) == 0 or len(others) == 0:
        raise InputError(f"{len(scores)} known and {len(others)} unknown images came: give at least one of each.")
    # Misclassified known images change neither rate, so they are left out.
    counts = ScoreCounts.of_parts(scores[flags], others)
    ccr = np.concatenate([[0.0], np.cumsum(counts.positives) / len(scores)])
    fpr = np.concatenate([[0.0], np.cumsum(counts.negatives) / len(others)])
    area = float((np.diff(fpr) * (ccr[1:] + ccr[:-1]) / 2.0).sum())
    return Oscr(fpr, ccr, area)


def open_set_numbers(known: ArrayLike, correct: ArrayLike, unknown: ArrayLike) -> OpenSet:
    """Compute AUROC, AUPR, FPR at 95 % TPR and OSCR of one confidence; the arguments are those of `oscr`."""
    scores, others = as_scores(known, "known"), as_scores(unknown, "unknown")
    area = oscr(scores, correct, others).area
    counts = ScoreCounts.of_parts(scores, others)
    aupr_unknown = ScoreCounts.of_parts(-others, -scores).average_precision()
    curve = counts.roc()
    fpr_at_95 = float(curve.false_positive_rate[np.argmax(curve.true_positive_rate >= 0.95 * (1 - 1e-12))])
    return OpenSet(counts.auc(), counts.average_precision(), aupr_unknown, fpr_at_95, area)
