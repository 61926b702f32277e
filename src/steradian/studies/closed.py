"""Closed-set and calibration numbers with their tables and pictures, of a model or of anybody's table of answers."""

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
from steradian.plots.theme import Panel, small_multiples

CONFUSED = 20
CURVES_UP_TO = 8
"""Classes up to which each has a curve of its own in the pictures."""

DRAWN_UP_TO = 200
LARGEST_CURVE = 20_000_000
LISTED = 50
TOPS = (3, 5, 10)


def closed_numbers(confusion: metrics.Confusion, classes: Sequence[str]) -> dict[str, Any]:
    """Numbers of answers alone: accuracy with its interval, averages, and each class."""
    counts = confusion.per_class()
    return {
        "accuracy": confusion.accuracy,
        "accuracy_interval": interval(int(counts.tp.sum()), confusion.total),
        "balanced_accuracy": confusion.balanced_accuracy,
        **{how: counts.average(how)._asdict() for how in ("macro", "micro", "weighted")},
        "per_class": per_class(counts, classes),
    }


def add_table_numbers(closed: dict[str, Any], probabilities: Floats, labels: NDArray[np.int64]) -> None:
    """Add to ``closed`` what a table of probabilities [N, C] says beyond its answers."""
    table = metrics.closed_set(probabilities, labels)
    add_ranks(closed, table.ranks, probabilities.shape[1])
    for name, areas in (("macro", table.macro), ("micro", table.micro)):
        closed[name] |= {"auc": areas.auc, "average_precision": areas.average_precision}


def add_ranks(closed: dict[str, Any], ranks: NDArray[np.integer[Any]], classes: int) -> None:
    """Add top-k accuracies and the mean rank of the true class, of ranks [N] from 0."""
    closed |= {f"top_{k}": float(np.mean(ranks < k)) for k in TOPS if k < classes}
    closed["mean_true_rank"] = float(ranks.mean())


def most_confused(confusion: metrics.Confusion, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes."""
    return [
        {"true": classes[pair.true], "predicted": classes[pair.predicted], "images": pair.images}
        for pair in confusion.most_confused(CONFUSED)
    ]


def calibration_numbers(
    probability: Floats, right: NDArray[np.bool_], of_truth: Floats, squares: Floats
) -> dict[str, Any]:
    """ECE by width and by mass, Brier score and likelihood.

    Args:
        probability: [N] of the answer; ``right`` bool [N].
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
    """Class -> tp, fp, fn, tn, precision, recall, specificity, f1."""
    names = ("tp", "fp", "fn", "tn", "precision", "recall", "specificity", "f1")
    columns = {name: getattr(counts, name).tolist() for name in names}
    return {name: {column: values[number] for column, values in columns.items()} for number, name in enumerate(classes)}


def interval(right: int, total: int) -> list[float]:
    """The 95 % interval of a share (Wilson), [low, high]."""
    found = metrics.wilson_interval(right, total)
    return [found.low, found.high]


def confused_table(confused: list[dict[str, Any]]) -> list[Block]:
    """The most frequent mistakes, if there are any."""
    if not confused:
        return []
    rows = [(Cell(pair["true"]), Cell(pair["predicted"]), Cell(f"{pair['images']:,}")) for pair in confused]
    return [Table(("true class", "was taken for", "images"), rows, notes=["The most frequent mistakes."])]


def confusion_picture(confusion: metrics.Confusion, classes: Sequence[str]) -> list[Block]:
    """The matrix, where there are few enough classes to see anything."""
    if len(classes) > min(DENSE_UP_TO, DRAWN_UP_TO):
        return []
    display = ConfusionDisplay(confusion.matrix(), tuple(classes))
    picture = small_multiples({"confusion": display.plot}, "Confusion matrix", width=5.6)
    return [Figure(picture, "Rows are true classes, columns predictions.")]


def classes_table(of_classes: dict[str, dict[str, float]]) -> Block:
    """The numbers of each class, the worst first."""
    names = ("tp", "fp", "fn", "tn", "precision", "recall", "specificity", "f1")
    worst = sorted(of_classes.items(), key=lambda item: (item[1]["f1"], item[0]))[:LISTED]
    rows = [(Cell(name), *(Cell(formatted(found[column])) for column in names)) for name, found in worst]
    notes = [f"The {LISTED} of {len(of_classes):,} classes with the lowest F1."] if len(of_classes) > LISTED else []
    return Table(("class", *names), rows, notes=notes)


def formatted(value: float) -> str:
    """A number for a table."""
    if isinstance(value, int):
        return f"{value:,}"
    return "—" if math.isnan(value) else f"{value:.4f}"


def reliability_panel(probability: Floats, right: NDArray[np.bool_]) -> Panel:
    """Whether confidence means what it says."""
    return ReliabilityDisplay.from_bins(*metrics.reliability(np.minimum(probability, 1.0), right)).plot


def curves_picture(
    probabilities: Floats, labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str]
) -> Block:
    """ROC and precision-recall of each class against the rest, all of them together, and reliability."""
    shown = range(len(classes)) if len(classes) <= CURVES_UP_TO else ()
    counts = {
        classes[number]: metrics.ScoreCounts.of(probabilities[:, number], labels == number)
        for number in shown
        if 0 < int((labels == number).sum()) < len(labels)
    }
    if probabilities.size <= LARGEST_CURVE and len(classes) > 1:
        truth = np.eye(len(classes), dtype=bool)[labels]
        counts["all (micro)"] = metrics.ScoreCounts.of(probabilities.ravel(), truth.ravel())
    panels: dict[str, Panel] = {}
    if counts:
        rates = {name: found.roc() for name, found in counts.items()}
        recalls = {name: found.precision_recall() for name, found in counts.items()}
        panels["ROC, one class against the rest"] = RocDisplay.from_rates(
            {name: (curve.false_positive_rate, curve.true_positive_rate) for name, curve in rates.items()}
        ).plot
        panels["precision and recall"] = PrecisionRecallDisplay.from_rates(
            {name: (curve.recall, curve.precision) for name, curve in recalls.items()}
        ).plot
    panels["reliability"] = reliability_panel(probabilities.max(axis=1), predictions == labels)
    caption = (
        "On the dotted line of the reliability picture a confidence means what it says; below it, it says too much."
    )
    words = "ROC, precision and recall, reliability"
    return Figure(small_multiples(panels, words, columns=3, width=4.2, height=3.8), caption)
