"""Tables of somebody's answers: predictions of images, and scores of pairs, from CSV or parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import natural_order
from steradian.errors import DataError, UsageError
from steradian.files import explained

EXPECTED = (
    "Expected columns: id,label,prediction,score (score may be left out), or id,label and then one column per "
    "class with its probability."
)
PAIRS_EXPECTED = "Expected columns: a,b,same,score."
SUM_SLACK = 1e-3
TRUE, FALSE = {"1", "true", "yes", "same"}, {"0", "false", "no", "different"}


@dataclass(frozen=True)
class Answers:
    """What a classifier said of images.

    Attributes:
        ids: [N], each once.
        classes: C names.
        labels: int64 [N] in 0..C-1.
        predictions: int64 [N] in -1..C-1; -1: no answer.
        confidence: float64 [N] of the answer; None where the table has none. NaN for no answer.
        probabilities: float64 [N, C], rows summing to 1; None for a table of answers alone.
        notes: what was assumed, in words.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    confidence: NDArray[np.float64] | None
    probabilities: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoredPairs:
    """Scores [N] of pairs, larger is nearer, and whether each is of one identity, bool [N]; each pair once."""

    scores: NDArray[np.float64]
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class _Sheet:
    """Text cells: (place in words, values by column)."""

    path: Path
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[str]]]

    def column(self, name: str) -> list[str]:
        place = self.columns.index(name)
        return [row[place] for _, row in self.rows]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of finite numbers; an empty cell is NaN."""
        place = self.columns.index(name)
        return np.array([self._number(where, name, row[place]) for where, row in self.rows], dtype=np.float64)

    def _number(self, where: str, name: str, text: str) -> float:
        if text == "":
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{self.path}, {where}: {name} is {text!r}; every score must be a finite number.")
        return value


def read_answers(path: Path) -> Answers:
    """Read a table of answers.

    Raises:
        DataError: missing columns, an empty table, an id twice, a label that is no class, a score that is no number.
    """
    sheet = _read(path, ("id", "label"), EXPECTED)
    ids, names = sheet.column("id"), sheet.column("label")
    _each_once(sheet, ids, "id")
    for (where, _), name in zip(sheet.rows, names, strict=True):
        if name == "":
            raise DataError(f"{path}, {where}: the label is empty; every image needs its true class.")
    if "prediction" in sheet.columns:
        return _answers_alone(sheet, tuple(ids), names)
    return _table(sheet, tuple(ids), names)


def _answers_alone(sheet: _Sheet, ids: tuple[str, ...], names: list[str]) -> Answers:
    said = sheet.column("prediction")
    unknown = [name for name in sheet.columns if name not in ("id", "label", "prediction", "score")]
    if unknown:
        raise DataError(f"{sheet.path} has columns that are not known beside a prediction: {unknown}. {EXPECTED}")
    classes = tuple(sorted({*names, *said} - {""}, key=natural_order))
    codes = {name: number for number, name in enumerate(classes)}
    predictions = np.array([codes.get(name, -1) for name in said], dtype=np.int64)
    confidence = sheet.numbers("score") if "score" in sheet.columns else None
    notes = _withheld(predictions)
    if confidence is not None:
        lost = np.flatnonzero(np.isnan(confidence) & (predictions >= 0))
        if len(lost):
            raise DataError(f"{sheet.path}, {sheet.rows[lost[0]][0]}: the score is empty, but there is a prediction.")
    labels = np.array([codes[name] for name in names], dtype=np.int64)
    return Answers(ids, classes, labels, predictions, confidence, None, notes)


def _table(sheet: _Sheet, ids: tuple[str, ...], names: list[str]) -> Answers:
    classes = tuple(name for name in sheet.columns if name not in ("id", "label"))
    if not classes:
        raise DataError(f"{sheet.path} has neither a prediction nor a column for any class. {EXPECTED}")
    codes = {name: number for number, name in enumerate(classes)}
    for (where, _), name in zip(sheet.rows, names, strict=True):
        if name not in codes:
            raise DataError(
                f"{sheet.path}, {where}: label {name!r} has no column; there are {len(classes)}, such as "
                f"{classes[0]!r}."
            )
    values = np.stack([sheet.numbers(name) for name in classes], axis=1)
    lost = np.argwhere(np.isnan(values))
    if len(lost):
        row, column = lost[0]
        raise DataError(f"{sheet.path}, {sheet.rows[row][0]}: the score of class {classes[column]!r} is empty.")
    probabilities, notes = _as_probabilities(values)
    labels = np.array([codes[name] for name in names], dtype=np.int64)
    predictions = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    return Answers(ids, classes, labels, predictions, confidence, probabilities, notes)


def _as_probabilities(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Rows that sum to 1, and what was assumed to make them so."""
    sums = values.sum(axis=1)
    off = np.abs(sums - 1.0)
    if values.min() < 0.0 or values.max() > 1.0 + SUM_SLACK:
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        reach = f"{values.min():.3g} to {values.max():.3g}"
        return shifted / shifted.sum(axis=1, keepdims=True), (
            f"The class columns reach from {reach}, so they were taken for logits and passed through softmax.",
        )
    notes = []
    empty, wrong = sums == 0.0, (off > SUM_SLACK) & (sums > 0.0)
    if empty.any():
        notes.append(f"{int(empty.sum())} rows are all zero and were taken for no preference.")
    if wrong.any():
        notes.append(
            f"{int(wrong.sum())} of {len(values)} rows do not sum to 1 (they sum to {sums[wrong].min():.3g} to "
            f"{sums[wrong].max():.3g}); each was divided by its sum."
        )
    shares = np.where(empty[:, None], 1.0 / values.shape[1], values / np.where(empty, 1.0, sums)[:, None])
    return shares, tuple(notes)


def _withheld(predictions: NDArray[np.int64]) -> tuple[str, ...]:
    count = int((predictions < 0).sum())
    return (f"{count} of {len(predictions)} images have no prediction; each counts as a miss.",) if count else ()


def read_scored_pairs(path: Path) -> ScoredPairs:
    """Read scores of pairs.

    Raises:
        DataError: missing columns, an empty table, a pair twice, a score that is no number.
    """
    sheet = _read(path, ("a", "b", "same", "score"), PAIRS_EXPECTED)
    pairs = [" and ".join(sorted(pair)) for pair in zip(sheet.column("a"), sheet.column("b"), strict=True)]
    _each_once(sheet, pairs, "the pair")
    flags = []
    for (where, _), text in zip(sheet.rows, sheet.column("same"), strict=True):
        if text.lower() not in TRUE | FALSE:
            raise DataError(f"{path}, {where}: same is {text!r}; expected 1 or 0 (or true, false, yes, no).")
        flags.append(text.lower() in TRUE)
    scores = sheet.numbers("score")
    if np.isnan(scores).any():
        raise DataError(f"{path}, {sheet.rows[int(np.argmax(np.isnan(scores)))][0]}: the score is empty.")
    return ScoredPairs(scores, np.array(flags, dtype=bool))


def _each_once(sheet: _Sheet, keys: Iterable[str], what: str) -> None:
    seen: dict[str, str] = {}
    for (where, _), key in zip(sheet.rows, keys, strict=True):
        if key in seen:
            raise DataError(f"{sheet.path}, {where}: {what} {key!r} was there already, in {seen[key]}.")
        seen[key] = where


def read_columns(path: Path) -> tuple[str, ...]:
    """Return the column names of a table. Raises `DataError` for a file that is not a readable CSV or parquet."""
    return (_parquet(path) if path.suffix.lower() == ".parquet" else _csv(path))[0]


def _read(path: Path, needed: Sequence[str], expected: str) -> _Sheet:
    if path.suffix.lower() == ".parquet":
        columns, rows = _parquet(path)
    else:
        columns, rows = _csv(path)
    for name in needed:
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}; it has: {', '.join(columns) or 'none'}. {expected}")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} twice; every column needs a name of its own.")
    if not rows:
        raise DataError(f"{path} has a header but no rows: there is nothing to measure.")
    return _Sheet(path, columns, rows)


def _csv(path: Path) -> tuple[tuple[str, ...], Sequence[tuple[str, Sequence[str]]]]:
    try:
        with explained("read", path), path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = tuple(name.strip() for name in next(reader, []))
            rows = [(f"line {reader.line_num}", [cell.strip() for cell in row]) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable CSV in UTF-8 ({error}).") from error
    for where, row in rows:
        if len(row) != len(columns):
            raise DataError(
                f"{path}, {where}: {len(row)} cells, but the header has {len(columns)}. A name with a comma must "
                "stand in quotes."
            )
    return columns, rows


def _parquet(path: Path) -> tuple[tuple[str, ...], Sequence[tuple[str, Sequence[str]]]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"{path} is parquet, which needs pyarrow: pip install 'steradian[data]', or write a CSV."
        ) from error
    with explained("read", path):
        try:
            table = parquet.read_table(path)
        except ValueError as error:
            raise DataError(f"{path} is not a readable parquet file ({error}).") from error
    cells = [["" if value is None else str(value) for value in column.to_pylist()] for column in table.columns]
    rows = [(f"row {number}", row) for number, row in enumerate(zip(*cells, strict=True), start=1)]
    return tuple(table.column_names), rows
