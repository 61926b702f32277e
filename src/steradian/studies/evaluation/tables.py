"""Measure any classifier or matcher from a table of its answers: metrics, figures and a report."""

from __future__ import annotations

import datetime
import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from steradian import metrics
from steradian.data.answers import ScoredPairs, read_answers, read_columns, read_scored_pairs
from steradian.files import check_folder, new_folder, write_text
from steradian.invocation import command_line
from steradian.plots.report import Block, Report, Section, facts
from steradian.studies.evaluation.closed_set import (
    add_table_numbers,
    calibration_numbers,
    classes_table,
    closed_numbers,
    confused_table,
    confusion_picture,
    curves_picture,
    most_confused,
)
from steradian.studies.evaluation.glossary import meanings, numbers_table
from steradian.studies.evaluation.verification import pair_numbers, pairs_picture
from steradian.training.resources import environment
from steradian.training.run_folder import RunFolder


@dataclass(frozen=True)
class Measurement:
    """Numbers with their report.

    Attributes:
        numbers: nested, snake case; NaN where a number does not exist.
        report: the page.
        notes: what was assumed or left out, in words.
        folder: where `write` puts both.
    """

    numbers: dict[str, Any]
    report: Report
    notes: tuple[str, ...]
    folder: Path

    def write(self) -> Measurement:
        """Write the page and then the numbers: where the numbers are, everything is."""
        new_folder(self.folder, exist_ok=True)
        run = RunFolder(self.folder)
        write_text(run.report, self.report.html())
        run.finish(self.numbers)
        return self


def kind_of(file: str | Path) -> Literal["predictions", "scores"]:
    """Return what a table holds, by its columns: scored pairs have "same" and "score", and no "label"."""
    columns = set(read_columns(Path(file)))
    return "scores" if {"same", "score"} <= columns and "label" not in columns else "predictions"


def measure_predictions(file: str | Path, *, out: str | Path | None = None, exist_ok: bool = False) -> Measurement:
    """Measure anybody's classifier by a table of its predictions, and write a report.

    Closed-set numbers come from the predictions alone; calibration and curves where the table has probabilities.

    Args:
        file: CSV or parquet with ``id,label,prediction,score`` or a column of probabilities per class.
        out: folder of the results; None: ``FILE-evaluation`` beside the file.
        exist_ok: write into a folder that holds other things.

    Raises:
        UsageError: ``out`` holds other files.
        DataError: the table cannot be used; see `read_answers`.
    """
    path = Path(file)
    folder = _folder(path, out, exist_ok)
    answers = read_answers(path)
    confusion = metrics.Confusion.of(answers.predictions, answers.labels, len(answers.classes))
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
    numbers |= {"calibration": calibration} if calibration else {}
    provenance = _provenance(path)
    sections = [
        Section("Numbers", [], [numbers_table(numbers), *confused_table(confused)]),
        Section("Pictures", [], [*confusion_picture(confusion, answers.classes), *curves]),
        Section("Classes", [], [classes_table(closed_set["per_class"])]),
        Section("What this means", meanings(numbers), []),
        Section("How it was made", [], [facts({**provenance, "assumed": " ".join(answers.notes) or "nothing"})]),
    ]
    subtitle = f"{confusion.total:,} images of {len(answers.classes):,} classes"
    numbers |= {"notes": list(answers.notes), "provenance": provenance}
    page = Report(f"Predictions in {path.name}", subtitle, sections)
    return Measurement(numbers, page, answers.notes, folder).write()


def measure_scores(
    file: str | Path, *, out: str | Path | None = None, exist_ok: bool = False, distance: bool = False
) -> Measurement:
    """Measure anybody's matcher by a table of scored pairs, and write a report.

    Args:
        file: CSV or parquet with ``a,b,same,score``.
        out: folder of the results; None: ``FILE-evaluation`` beside the file.
        exist_ok: write into a folder that holds other things.
        distance: the scores are distances, smaller for images that are more alike.

    Raises:
        UsageError: ``out`` holds other files.
        DataError: the table cannot be used; see `read_scored_pairs`.
        InputError: all pairs are genuine, or all are impostor.
    """
    path = Path(file)
    folder = _folder(path, out, exist_ok)
    pairs = read_scored_pairs(path)
    if distance:
        pairs = replace(pairs, scores=-pairs.scores)
    verification, notes = pair_numbers(pairs.scores, pairs.same)
    notes = (*notes, *_about_direction(pairs, verification["auc"], distance))
    numbers: dict[str, Any] = {"verification": verification}
    provenance = _provenance(path)
    sections = [
        Section("Numbers", [], [numbers_table(numbers)]),
        Section("Pictures", [], [pairs_picture(pairs.scores, pairs.same)]),
        Section("What this means", meanings(numbers), []),
        Section("How it was made", [], [facts({**provenance, "assumed": " ".join(notes) or "nothing"})]),
    ]
    subtitle = f"{verification['genuine_pairs']:,} genuine and {verification['impostor_pairs']:,} impostor pairs"
    numbers |= {"notes": list(notes), "provenance": provenance}
    return Measurement(numbers, Report(f"Pairs in {path.name}", subtitle, sections), notes, folder).write()


def _about_direction(pairs: ScoredPairs, auc: float, distance: bool) -> tuple[str, ...]:
    """Return what there is to say of scores that are distances, or seem to be."""
    notes = ("The scores are distances: their sign was changed, so that larger is more alike.",) if distance else ()
    genuine = int(pairs.same.sum())
    impostor = len(pairs.same) - genuine
    # The deviation of the AUC of scores that say nothing (Mann and Whitney 1947).
    chance = math.sqrt((genuine + impostor + 1) / (12 * genuine * impostor))
    if auc >= 0.5 - 2.0 * chance:
        return notes
    seem = "similarities: leave out --distance" if distance else "distances: measure them with --distance"
    below = f"The AUC of {auc:.3f} is below 0.5: pairs of one identity have the lower scores. They seem {seem}."
    return (*notes, below)


def _folder(path: Path, out: str | Path | None, exist_ok: bool) -> Path:
    folder = Path(out) if out is not None else path.with_name(f"{path.stem}-evaluation")
    check_folder(folder, exist_ok=exist_ok)
    return folder


def _provenance(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    return {"command": command_line(), "date": date, "file": path.name, "sha256": digest.hexdigest(), **environment()}
