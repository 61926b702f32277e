"""Measure anybody's classifier or matcher from a table of its answers: numbers, pictures and a page."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steradian import metrics
from steradian.data.answers import read_answers, read_scored_pairs
from steradian.files import write_json, write_text
from steradian.plots.report import Block, Report, Section, facts
from steradian.studies.closed import (
    add_table_numbers,
    calibration_numbers,
    classes_table,
    closed_numbers,
    confused_table,
    confusion_picture,
    curves_picture,
    most_confused,
)
from steradian.studies.verified import pair_numbers, pairs_picture
from steradian.studies.words import meanings, numbers_table
from steradian.training.resources import environment


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
    closed_set = closed_numbers(confusion, answers.classes)
    curves: list[Block] = []
    calibration: dict[str, Any] = {}
    right = answers.predictions == answers.labels
    if answers.probabilities is not None:
        chances = answers.probabilities
        add_table_numbers(closed_set, chances, answers.labels)
        own = chances[np.arange(len(chances)), answers.labels]
        calibration = calibration_numbers(chances.max(axis=1), right, own, (chances * chances).sum(axis=1))
        curves = [curves_picture(chances, answers.labels, answers.predictions, answers.classes)]
    elif answers.confidence is not None:
        answered = answers.predictions >= 0
        if len(np.unique(right[answered])) == 2:
            closed_set["score_auc"] = metrics.roc_auc(answers.confidence[answered], right[answered])
    confused = most_confused(confusion, answers.classes)
    numbers: dict[str, Any] = {"images": confusion.total, "closed": closed_set, "most_confused": confused}
    if calibration:
        numbers["calibration"] = calibration
    provenance = _provenance(path, command)
    sections = [
        Section("Numbers", [], [numbers_table(numbers), *confused_table(confused)]),
        Section("Pictures", [], [*confusion_picture(confusion, answers.classes), *curves]),
        Section("Classes", [], [classes_table(closed_set["per_class"])]),
        Section("What this means", meanings(numbers), []),
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
    verification, notes = pair_numbers(pairs.scores, pairs.same)
    numbers: dict[str, Any] = {"verification": verification}
    provenance = _provenance(path, command)
    sections = [
        Section("Numbers", [], [numbers_table(numbers)]),
        Section("Pictures", [], [pairs_picture(pairs.scores, pairs.same)]),
        Section("What this means", meanings(numbers), []),
        Section("How it was made", [], [facts({**provenance, "assumed": " ".join(notes) or "nothing"})]),
    ]
    subtitle = f"{verification['genuine_pairs']:,} genuine and {verification['impostor_pairs']:,} impostor pairs"
    numbers |= {"notes": list(notes), "provenance": provenance}
    return Measurement(numbers, Report(f"Pairs in {path.name}", subtitle, sections), notes)


def write_measurement(found: Measurement, out: Path) -> None:
    """``report.html`` and then ``metrics.json`` in ``out``: where the second is, everything is."""
    write_text(out / "report.html", found.report.html())
    write_json(out / "metrics.json", found.numbers)


def _provenance(path: Path, command: str) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    return {"command": command, "date": date, "file": path.name, "sha256": digest.hexdigest(), **environment()}
