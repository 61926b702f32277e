"""Closed-set and calibration metrics, tables and figures, for a model or any table of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.metrics.checks import Floats
from steradian.metrics.confusion import DENSE_UP_TO
from steradian.plots import ConfusionDisplay, PrecisionRecallDisplay, ReliabilityDisplay, RocDisplay
from steradian.plots.report import Block, Cell, Figure, Table
from steradian.plots.theme import Panel

CONFUSED = 20
CURVES_UP_TO = 8
"""Largest number of classes for which each class gets its own curve."""

DRAWN_UP_TO = 200
LARGEST_CURVE = 20_000_000
LISTED = 50
TOPS = (3, 5, 10)
PER_CLASS = ("tp", "fp", "fn", "tn", "precision", "recall", "specificity", "f1")


def closed_numbers(confusion: metrics.Confusion, classes: Sequence[str]) -> dict[str, Any]:
    """Compute metrics from predictions alone: accuracy with its interval, averages, and per-class values."""
    counts = confusion.per_class()
    return {
        "accuracy": confusion.accuracy,
        "accuracy_interval": interval(int(counts.tp.sum()), confusion.total),
        "balanced_accuracy": confusion.balanced_accuracy,
        **{how: counts.average(how)._asdict() for how in ("macro", "micro", "weighted")},
        "per_class": per_class(counts, classes),
    }


def add_table_numbers(closed: dict[str, Any], probabilities: Floats, labels: NDArray[np.int64]) -> None:
    """Add ranks, AUC and average precision from probabilities [N, C] to ``closed``."""
    table = metrics.closed_set(probabilities, labels)
    add_ranks(closed, table.ranks, probabilities.shape[1])
    for name, areas in (("macro", table.macro), ("micro", table.micro)):
        closed[name] |= {"auc": areas.auc, "average_precision": areas.average_precision}


def add_ranks(closed: dict[str, Any], ranks: NDArray[np.integer[Any]], classes: int) -> None:
    """Add top-k accuracies and the mean rank of the true class; ``ranks`` [N] start at 0."""
    closed |= {f"top_{k}": float(np.mean(ranks < k)) for k in TOPS if k < classes}
    closed["mean_true_rank"] = float(ranks.mean())


def most_confused(confusion: metrics.Confusion, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the most frequent confusions."""
    return [
        {"true": classes[pair.true], "predicted": classes[pair.predicted], "images": pair.images}
        for pair in confusion.most_confused(CONFUSED)
    ]


def calibration_numbers(
    probability: Floats, right: NDArray[np.bool_], of_truth: Floats, squares: Floats
) -> dict[str, Any]:
    """Compute ECE (equal-width and equal-mass bins), Brier score and negative log-likelihood.

    Args:
        probability: [N], of the prediction; ``right``: bool [N], whether it is correct.
        of_truth: [N], probability of the true class.
        squares: [N], sum of squared probabilities.
    """
    confidence = np.minimum(probability, 1.0)
    with np.errstate(divide="ignore"):
        surprise = -np.log(np.asarray(of_truth, dtype=np.float64))
    return {
        "ece": metrics.reliability(confidence, right).error,
        "ece_equal_mass": metrics.reliability(confidence, right, binning="mass").error,
        "brier": float((squares - 2.0 * of_truth + 1.0).mean()),
        "nll": float(surprise.mean()),
    }


def per_class(counts: metrics.ClassCounts, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Map each class to tp, fp, fn, tn, precision, recall, specificity and f1."""
    columns = {name: getattr(counts, name).tolist() for name in PER_CLASS}
    return {name: {column: values[number] for column, values in columns.items()} for number, name in enumerate(classes)}


def interval(right: int, total: int) -> list[float]:
    """Return the 95 % Wilson interval of a proportion, [low, high]."""
    wilson = metrics.wilson_interval(right, total)
    return [wilson.low, wilson.high]


def confused_table(confused: list[dict[str, Any]]) -> list[Block]:
    """Return a table of the most frequent confusions, or nothing if there are none."""
    if not confused:
        return []
    rows = [(Cell(pair["true"]), Cell(pair["predicted"]), Cell(f"{pair['images']:,}")) for pair in confused]
    return [Table(("true class", "was taken for", "images"), rows, notes=["The most frequent mistakes."])]


def confusion_picture(confusion: metrics.Confusion, classes: Sequence[str]) -> list[Block]:
    """Return the confusion matrix as a figure, or nothing if it has too many classes to read."""
    if len(classes) > min(DENSE_UP_TO, DRAWN_UP_TO):
        return []
    display = ConfusionDisplay(confusion.matrix(), tuple(classes))
    caption = "Rows are true classes, columns predictions."
    return [Figure.of({"confusion": display.plot}, "Confusion matrix", caption, width=5.6)]


def classes_table(class_metrics: dict[str, dict[str, float]]) -> Block:
    """Return a table of per-class metrics, lowest F1 first."""
    worst = sorted(class_metrics.items(), key=lambda item: (item[1]["f1"], item[0]))[:LISTED]
    rows = [(Cell(name), *(Cell(formatted(values[column])) for column in PER_CLASS)) for name, values in worst]
    count = len(class_metrics)
    notes = [f"The {LISTED} of {count:,} classes with the lowest F1."] if count > LISTED else []
    return Table(("class", *PER_CLASS), rows, notes=notes)


def formatted(value: float) -> str:
    """Format a number for a table."""
    if isinstance(value, int):
        return f"{value:,}"
    return "—" if math.isnan(value) else f"{value:.4f}"


def reliability_panel(probability: Floats, right: NDArray[np.bool_]) -> Panel:
    """Return a reliability diagram."""
    return ReliabilityDisplay.from_bins(*metrics.reliability(np.minimum(probability, 1.0), right)).plot


def curves_picture(
    probabilities: Floats, labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str]
) -> Block:
    """Plot ROC and precision-recall (each class against the rest, and micro-averaged) and reliability."""
    shown = range(len(classes)) if len(classes) <= CURVES_UP_TO else ()
    counts = {
        classes[number]: metrics.ScoreCounts.of(probabilities[:, number], labels == number)
        for number in shown
        if 0 < int((labels == number).sum()) < len(labels)
    }
    if probabilities.size <= LARGEST_CURVE and len(classes) > 1:
        one_hot = labels[:, None] == np.arange(len(classes))
        counts["all (micro)"] = metrics.ScoreCounts.of(probabilities.ravel(), one_hot.ravel())
    panels: dict[str, Panel] = {}
    if counts:
        rates = {name: score_counts.roc() for name, score_counts in counts.items()}
        recalls = {name: score_counts.precision_recall() for name, score_counts in counts.items()}
        panels["ROC, one class against the rest"] = RocDisplay.from_rates(
            {name: (curve.false_positive_rate, curve.true_positive_rate) for name, curve in rates.items()}
        ).plot
        panels["precision and recall"] = PrecisionRecallDisplay.from_rates(
            {name: (curve.recall, curve.precision) for name, curve in recalls.items()}
        ).plot
    panels["reliability"] = reliability_panel(probabilities.max(axis=1), predictions == labels)
    caption = "On the dotted line of the reliability plot, confidence equals accuracy; below it, the model is too sure."
    title = "ROC, precision and recall, reliability"
    return Figure.of(panels, title, caption, width=4.2, height=3.8)
