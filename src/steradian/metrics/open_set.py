"""Known or unknown: how well a confidence tells images of trained classes from images of others."""

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
    """How sure a classifier is, [N].

    Args:
        logits: float [N, C]; for "cosine" those are cosines to class centers.
        kind: "cosine" and "logit" take the largest (Vaze et al. 2022), "probability" that of the softmax (Hendrycks and
            Gimpel 2017).
    """
    values = np.asarray(logits)
    if values.ndim != 2 or values.shape[1] == 0 or not np.isfinite(values).all():
        raise InputError(f"logits must be finite numbers [N, C], C > 0, but came as {list(values.shape)}.")
    if kind not in ("cosine", "logit", "probability"):
        raise InputError(f"kind must be 'cosine', 'logit' or 'probability', but is {kind!r}.")
    found: Floats = (softmax(values) if kind == "probability" else values).max(axis=1)
    return found


class Oscr(NamedTuple):
    """Correct classification rate against false positive rate, by falling threshold from (0, 0); and the area."""

    false_positive_rate: Floats
    correct_classification_rate: Floats
    area: float


class OpenSet(NamedTuple):
    """Numbers of one confidence; ``aupr_known`` and ``aupr_unknown`` take that kind for the positive one.

    ``fpr_at_95`` is the share of unknowns accepted at the strictest threshold that accepts 95 % of the known.
    """

    auroc: float
    aupr_known: float
    aupr_unknown: float
    fpr_at_95: float
    oscr: float


def oscr(known: ArrayLike, right: ArrayLike, unknown: ArrayLike) -> Oscr:
    """Open-set classification rate (Dhamija et al. 2018), on distinct thresholds, ties as one step.

    CCR(t) is the share of known images that are classified right and score >= t, FPR(t) that of unknown images that
    score >= t. The area is at most the closed-set accuracy, which it reaches when known and unknown are apart.

    Args:
        known: confidences [N] of images of known classes, with ``right`` bool [N].
        unknown: confidences [M] of images of other classes.
    """
    scores, others = as_scores(known, "known"), as_scores(unknown, "unknown")
    flags = as_flags(right, len(scores), "right")
    if len(scores) == 0 or len(others) == 0:
        raise InputError(f"{len(scores)} known and {len(others)} unknown images came: both are needed.")
    # Right ones against unknowns; wrong ones only add thresholds at which nothing happens.
    counts = ScoreCounts.of_parts(scores[flags], others)
    ccr = np.concatenate([[0.0], np.cumsum(counts.positives) / len(scores)])
    fpr = np.concatenate([[0.0], np.cumsum(counts.negatives) / len(others)])
    area = float((np.diff(fpr) * (ccr[1:] + ccr[:-1]) / 2.0).sum())
    return Oscr(fpr, ccr, area)


def open_set_numbers(known: ArrayLike, right: ArrayLike, unknown: ArrayLike) -> OpenSet:
    """AUROC, AUPR, FPR at 95 % TPR and OSCR of one confidence; arguments as in `oscr`."""
    scores, others = as_scores(known, "known"), as_scores(unknown, "unknown")
    area = oscr(scores, right, others).area
    counts = ScoreCounts.of_parts(scores, others)
    reversed_counts = ScoreCounts.of_parts(-others, -scores)
    curve = counts.roc()
    enough = int(np.argmax(curve.true_positive_rate >= 0.95 * (1 - 1e-12)))
    return OpenSet(
        counts.auc(),
        counts.average_precision(),
        reversed_counts.average_precision(),
        float(curve.false_positive_rate[enough]),
        area,
    )
