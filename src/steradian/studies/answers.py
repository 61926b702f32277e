"""Measure anybody's classifier or matcher from a table of its answers: numbers, pictures and a page."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from steradian import metrics
from steradian.data.answers import Answers, read_answers, read_scored_pairs
from steradian.files import write_json, write_text
from steradian.metrics.checks import Floats
from steradian.metrics.confusion import DENSE_UP_TO
from steradian.plots import ConfusionDisplay, PrecisionRecallDisplay, ReliabilityDisplay, RocDisplay, Theme
from steradian.plots.report import Block, Cell, Figure, Report, Section, Table, facts
from steradian.plots.theme import small_multiples
from steradian.studies.measurement import flat
from steradian.training.resources import environment

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
CONFUSED = 20
CURVES_UP_TO = 8
"""Classes up to which each has a curve of its own in the pictures."""

DRAWN_UP_TO = 200
LARGEST_CURVE = 20_000_000
LISTED = 50

Panel = Callable[[Axes, Theme], object]


@dataclass(frozen=True)
class Measurement:
    """Numbers, nested and in snake case (NaN where one does not exist), the page, and what was assumed."""

    numbers: dict[str, Any]
    report: Report
    notes: tuple[str, ...]


def measure_answers(path: Path, command: str) -> Measurement:
    """Closed-set numbers of a table of answers, and calibration where it has probabilities.

    Raises:
        DataError: the table cannot be used; see `read_answers`.
    """
    answers = read_answers(path)
    confusion = metrics.Confusion.of(answers.labels, answers.predictions, len(answers.classes))
    counts = confusion.per_class()
    closed: dict[str, Any] = {
        "accuracy": confusion.accuracy,
        "accuracy_interval": _interval(int(counts.tp.sum()), confusion.total),
        "balanced_accuracy": confusion.balanced_accuracy,
        **{how: counts.average(how)._asdict() for how in ("macro", "micro", "weighted")},
    }
    curves: list[Block] = []
    calibration: dict[str, Any] = {}
    if answers.probabilities is not None:
        table = metrics.closed_set(answers.probabilities, answers.labels)
        closed |= {f"top_{k}": table.top_k(k) for k in (3, 5) if k < len(answers.classes)}
        closed["mean_true_rank"] = float(table.ranks.mean())
        for name, areas in (("macro", table.macro), ("micro", table.micro)):
            closed[name] |= {"auc": areas.auc, "average_precision": areas.average_precision}
        calibration = _calibration(answers.probabilities, answers)
        curves = _curves(answers.probabilities, answers)
    elif answers.confidence is not None:
        answered, right = answers.predictions >= 0, answers.predictions == answers.labels
        if len(np.unique(right[answered])) == 2:
            closed["score_auc"] = metrics.roc_auc(answers.confidence[answered], right[answered])
    closed["per_class"] = _per_class(answers, counts)
    confused = [
        {"true": answers.classes[pair.true], "predicted": answers.classes[pair.predicted], "images": pair.images}
        for pair in confusion.most_confused(CONFUSED)
    ]
    numbers: dict[str, Any] = {"images": confusion.total, "closed": closed, "most_confused": confused}
    if calibration:
        numbers["calibration"] = calibration
    provenance = _provenance(path, command)
    sections = [
        Section("Numbers", [], [_numbers(numbers), *_confused(confused)]),
        Section("Pictures", [], [*_confusion_picture(answers, confusion), *curves]),
        Section("Classes", [], [_classes(closed["per_class"])]),
        Section("What this means", MEANINGS, []),
        Section("How it was made", [], [facts({**provenance, "assumed": " ".join(answers.notes) or "nothing"})]),
    ]
    subtitle = f"{confusion.total:,} images of {len(answers.classes):,} classes"
    numbers |= {"notes": list(answers.notes), "provenance": provenance}
    return Measurement(numbers, Report(f"Answers in {path.name}", subtitle, sections), answers.notes)


def measure_pairs(path: Path, command: str) -> Measurement:
    """Verification numbers of a table of scored pairs.

    Raises:
        DataError: the table cannot be used; see `read_scored_pairs`.
        InputError: all pairs are of one kind.
    """
    pairs = read_scored_pairs(path)
    counts = metrics.ScoreCounts.of(pairs.scores, pairs.same)
    scores = metrics.PairScores(pairs.scores[pairs.same], pairs.scores[~pairs.same])
    equal = counts.equal_error()
    points = [metrics.tar_at_far(scores, far) for far in FARS]
    numbers: dict[str, Any] = {
        "verification": {
            "auc": counts.auc(),
            "eer": equal.rate,
            "eer_threshold": equal.threshold,
            "tar_at_far": {f"{point.far:.0e}": point.tar for point in points},
            "threshold_at_far": {f"{point.far:.0e}": point.threshold for point in points},
            "genuine_pairs": len(scores.genuine),
            "impostor_pairs": len(scores.impostor),
        }
    }
    if len(pairs.scores) >= 20:
        folds = metrics.fold_accuracy(pairs.scores, pairs.same)
        numbers["verification"] |= {"fold_accuracy": folds.mean, "fold_accuracy_standard_error": folds.spread}
    provenance = _provenance(path, command)
    curve = counts.roc()
    display = RocDisplay.from_rates({"pairs": (curve.false_positive_rate, curve.true_positive_rate)})
    panels: dict[str, Panel] = {"ROC": display.plot, "DET": display.plot_det}
    notes = tuple(
        f"TAR at FAR {point.far:g} has no number: {len(scores.impostor):,} impostor pairs cannot support it."
        for point in points
        if math.isnan(point.tar)
    )
    sections = [
        Section("Numbers", [], [_numbers(numbers)]),
        Section(
            "Pictures", [], [Figure(small_multiples(panels, "ROC and DET", columns=2, width=4.5), "Of all pairs.")]
        ),
        Section("What this means", PAIR_MEANINGS, []),
        Section("How it was made", [], [facts({**provenance, "assumed": " ".join(notes) or "nothing"})]),
    ]
    subtitle = f"{len(scores.genuine):,} genuine and {len(scores.impostor):,} impostor pairs"
    numbers |= {"notes": list(notes), "provenance": provenance}
    return Measurement(numbers, Report(f"Pairs in {path.name}", subtitle, sections), notes)


def write_measurement(found: Measurement, out: Path) -> None:
    """``report.html`` and then ``metrics.json`` in ``out``: where the second is, everything is."""
    write_text(out / "report.html", found.report.html())
    write_json(out / "metrics.json", found.numbers)


def _interval(right: int, total: int) -> list[float]:
    found = metrics.wilson_interval(right, total)
    return [found.low, found.high]


def _calibration(chances: Floats, answers: Answers) -> dict[str, Any]:
    own = chances[np.arange(len(chances)), answers.labels]
    with np.errstate(divide="ignore"):
        surprise = -np.log(own)
    return {
        "ece": metrics.expected_calibration_error(chances, answers.labels),
        "ece_equal_mass": metrics.expected_calibration_error(chances, answers.labels, binning="mass"),
        "brier": metrics.brier_score(chances, answers.labels),
        "nll": float(surprise.mean()),
    }


def _curves(chances: Floats, answers: Answers) -> list[Block]:
    truth = np.eye(len(answers.classes), dtype=bool)[answers.labels] if chances.size <= LARGEST_CURVE else None
    shown = range(len(answers.classes)) if len(answers.classes) <= CURVES_UP_TO else ()
    counts = {
        answers.classes[number]: metrics.ScoreCounts.of(chances[:, number], answers.labels == number)
        for number in shown
        if 0 < int((answers.labels == number).sum()) < len(chances)
    }
    if truth is not None and len(answers.classes) > 1:
        counts["all (micro)"] = metrics.ScoreCounts.of(chances.ravel(), truth.ravel())
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
    bins = metrics.reliability(chances.max(axis=1).clip(max=1.0), answers.predictions == answers.labels)
    panels["reliability"] = ReliabilityDisplay.from_bins(*bins).plot
    words = "ROC, precision and recall, reliability"
    caption = (
        "On the dotted line of the reliability picture a confidence means what it says; below it, it says too much."
    )
    return [Figure(small_multiples(panels, words, columns=3, width=4.2, height=3.8), caption)]


def _per_class(answers: Answers, counts: metrics.ClassCounts) -> dict[str, dict[str, float]]:
    columns = {
        **{name: getattr(counts, name).tolist() for name in ("tp", "fp", "fn", "tn")},
        **{name: getattr(counts, name).tolist() for name in ("precision", "recall", "specificity", "f1")},
    }
    return {
        name: {column: values[number] for column, values in columns.items()}
        for number, name in enumerate(answers.classes)
    }


def numbers_in_words(found: Measurement) -> list[tuple[str, str]]:
    """(words, formatted value) of every number that is not of one class."""
    return _in_words(found.numbers)


def _in_words(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    measured = {key: value for key, value in numbers.items() if key != "provenance"}
    rows = [
        (key, value) for key, value in flat(measured) if ".per_class." not in key and isinstance(value, float | int)
    ]
    return [(key.replace("_", " ").replace(".", ": "), _formatted(value)) for key, value in rows]


def _numbers(numbers: dict[str, Any]) -> Block:
    return Table(("", ""), [(Cell(words), Cell(value)) for words, value in _in_words(numbers)])


def _formatted(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "—" if math.isnan(value) else f"{value:.4f}"


def _confused(confused: list[dict[str, Any]]) -> list[Block]:
    if not confused:
        return []
    rows = [(Cell(pair["true"]), Cell(pair["predicted"]), Cell(f"{pair['images']:,}")) for pair in confused]
    return [Table(("true class", "was taken for", "images"), rows, notes=["The most frequent mistakes."])]


def _confusion_picture(answers: Answers, confusion: metrics.Confusion) -> list[Block]:
    if len(answers.classes) > min(DENSE_UP_TO, DRAWN_UP_TO):
        return []
    display = ConfusionDisplay(confusion.matrix(), answers.classes)
    picture = small_multiples({"confusion": display.plot}, "Confusion matrix", width=5.6)
    return [Figure(picture, "Rows are true classes, columns predictions.")]


def _classes(per_class: dict[str, dict[str, float]]) -> Block:
    names = ("tp", "fp", "fn", "tn", "precision", "recall", "specificity", "f1")
    worst = sorted(per_class.items(), key=lambda item: (item[1]["f1"], item[0]))[:LISTED]
    rows = [(Cell(name), *(Cell(_formatted(found[column])) for column in names)) for name, found in worst]
    notes = [f"The {LISTED} of {len(per_class):,} classes with the lowest F1."] if len(per_class) > LISTED else []
    return Table(("class", *names), rows, notes=notes)


def _provenance(path: Path, command: str) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    return {"command": command, "date": date, "file": path.name, "sha256": digest.hexdigest(), **environment()}


MEANINGS = (
    "Accuracy is the share of images whose answer is their class; balanced accuracy gives every class the same weight, "
    "however many images it has. If the two are far apart, small classes fare worse than large ones.",
    "Precision: of the images that were called so, how many are. Recall: of those that are, how many were called so. "
    "F1 is high only when both are. Macro averages classes, micro images; a class that was never named has "
    "precision 0.",
    "The area under the ROC curve is the chance that an image of a class scores higher for it than an image of "
    "another; 0.5 is guessing. Average precision says the same of a rare class more strictly.",
    "Score AUC, of answers with a score: the chance that a right one scores higher than a wrong one.",
    "Calibration error is how far, on average, confidence is from the share that is right: at 0.05, answers given "
    "with 90 % confidence are right about 85 or 95 % of the time.",
)
PAIR_MEANINGS = (
    "FAR is the share of pairs of two identities that are wrongly accepted, TAR the share of pairs of one that are "
    "rightly accepted. The threshold is chosen so that at most the stated share of impostors passes; "
    "a pair must score higher.",
    "At the equal error rate as many impostors are accepted, in proportion, as genuine pairs are rejected.",
    "A rate that the impostor pairs are too few for has no number: with a thousand of them, one in a million cannot be "
    "measured.",
)
