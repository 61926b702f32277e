"""Read result tables from CSV or parquet: predictions for images, and scores for pairs."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steradian.data.clean_table import NO_NUMBER, WHOLE, look_alikes
from steradian.data.csv_rows import opened_csv
from steradian.data.images import natural_order
from steradian.errors import DataError, UsageError
from steradian.extras import install
from steradian.files import explained

EXPECTED = (
    "Expected columns: id,label,prediction,score (score is optional), or id,label followed by one probability "
    "column per class."
)
PAIRS_EXPECTED = "Expected columns: a,b,same,score."
KNOWN = ("id", "label", "prediction", "score", "a", "b", "same")
"""Columns by which a table is recognized."""
DECIMAL_COMMA, DECIMAL_POINT = re.compile(r"-?\d+,\d+(e-?\d+)?"), re.compile(r"-?\d+\.\d+(e-?\d+)?")
THOUSANDS = re.compile(r"-?[1-9]\d{0,2},\d{3}")
SUM_SLACK, ROUNDED_SLACK, NOISE = 1e-3, 0.05, 1e-6
"""Of sums: what probabilities may differ by, and rounded ones; and how far below zero a probability may be."""
TRUE, FALSE = {"1", "true", "yes", "same"}, {"0", "false", "no", "different"}


@dataclass(frozen=True)
class Answers:
    """Predictions of a classifier for images.

    Attributes:
        ids: [N], all different.
        classes: C names.
        labels: int64 [N] in 0..C-1.
        predictions: int64 [N] in -1..C-1; -1: no prediction.
        confidence: float64 [N], score of the prediction, NaN if there is none; None if the table has no scores.
        probabilities: float64 [N, C], rows summing to 1; None if the table has no class columns.
        notes: sentences about what was assumed.
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
    """Scores [N] of pairs (larger is more similar), and bool [N]: whether a pair has one identity. No pair repeats."""

    scores: NDArray[np.float64]
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class _Sheet:
    """A table of text cells; each row is (its location for messages, its cells)."""

    path: Path
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, Sequence[str]]]

    def column(self, name: str) -> list[str]:
        index = self.columns.index(name)
        return [row[index] for _, row in self.rows]

    def numbers(self, name: str, unlimited: bool = False) -> NDArray[np.float64]:
        """Return a column as finite numbers, with points or with decimal commas; an empty cell becomes NaN.

        ``unlimited``: -inf, the logarithm of 0, is a number too.
        """
        index = self.columns.index(name)
        commas = next((location for location, row in self.rows if DECIMAL_COMMA.fullmatch(row[index])), None)
        points = next((location for location, row in self.rows if DECIMAL_POINT.fullmatch(row[index])), None)
        if commas is not None and points is not None:
            raise DataError(
                f"{self.path}: {name} has a decimal comma in {commas} and a decimal point in {points}. Write all "
                "numbers in one way."
            )
        with_commas = [row[index] for _, row in self.rows if DECIMAL_COMMA.fullmatch(row[index])]
        if with_commas and all(map(THOUSANDS.fullmatch, with_commas)):
            raise DataError(
                f"{self.path}, {commas}: {name} is {with_commas[0]!r}, which may be thousands or a number with a "
                "decimal comma. Write numbers without separators of thousands, and with a decimal point."
            )
        cells = [self._number(location, name, row[index], unlimited) for location, row in self.rows]
        return np.array(cells, dtype=np.float64)

    def numeric_share(self, name: str) -> float:
        """Return the share of the cells of a column that are numbers, among those that are not empty."""
        index = self.columns.index(name)
        cells = [row[index] for _, row in self.rows if row[index]]
        return sum(map(_is_number, cells)) / max(1, len(cells)) if cells else 1.0

    def _number(self, location: str, name: str, text: str, unlimited: bool) -> float:
        if text == "":
            return math.nan
        value = _value(text)
        if not math.isfinite(value) and not (unlimited and value == -math.inf):
            raise DataError(f"{self.path}, {location}: {name} is {text!r}; every score must be a finite number.")
        return value


def _value(text: str) -> float:
    """Return a cell as a number; NaN if it is none."""
    try:
        # Python takes 1_0 for 10.
        return math.nan if "_" in text else float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return math.nan


def _is_number(text: str) -> bool:
    value = _value(text)
    return math.isfinite(value) or value == -math.inf


def read_answers(path: Path) -> Answers:
    """Read a table of predictions. Raises `DataError` for a table that is not valid."""
    sheet = _read(path, ("id", "label"), EXPECTED)
    sheet = _with_one_spelling(sheet)
    ids, names = sheet.column("id"), sheet.column("label")
    _require_unique(sheet, ids, "id")
    for (location, _), name in zip(sheet.rows, names, strict=True):
        if name == "":
            raise DataError(f"{path}, {location}: the label is empty; every image needs its true class.")
        if name.lower() in NO_NUMBER:
            raise DataError(
                f"{path}, {location}: the label is {name!r}, which stands for a missing one. Remove the row."
            )
    if "prediction" in sheet.columns:
        return _from_predictions(sheet, tuple(ids), names)
    return _from_class_columns(sheet, tuple(ids), names)


def _from_predictions(sheet: _Sheet, ids: tuple[str, ...], names: list[str]) -> Answers:
    predicted = sheet.column("prediction")
    unknown = [name for name in sheet.columns if name not in ("id", "label", "prediction", "score")]
    if unknown:
        raise DataError(f"{sheet.path} has unknown columns beside prediction: {unknown}. {EXPECTED}")
    if len({*names}) > 1 and any(predicted) and not {*names} & {*predicted}:
        said = next(name for name in predicted if name)
        raise DataError(
            f"{sheet.path}: no prediction is one of the labels: there are labels such as {names[0]!r}, and predictions "
            f"such as {said!r}. Write both with the same names."
        )
    classes = tuple(sorted({*names, *predicted} - {""}, key=natural_order))
    codes = {name: number for number, name in enumerate(classes)}
    predictions = np.array([codes.get(name, -1) for name in predicted], dtype=np.int64)
    confidence = sheet.numbers("score") if "score" in sheet.columns else None
    missing = int((predictions < 0).sum())
    misses = (f"{missing} of {len(predictions)} images have no prediction; each counts as a miss.",) if missing else ()
    notes = (*misses, *look_alikes(classes, str(sheet.path)))
    if confidence is not None:
        unscored = np.flatnonzero(np.isnan(confidence) & (predictions >= 0))
        if len(unscored):
            raise DataError(
                f"{sheet.path}, {sheet.rows[unscored[0]][0]}: the score is empty, but there is a prediction."
            )
    labels = np.array([codes[name] for name in names], dtype=np.int64)
    return Answers(ids, classes, labels, predictions, confidence, None, notes)


def _from_class_columns(sheet: _Sheet, ids: tuple[str, ...], names: list[str]) -> Answers:
    classes, left_out = _class_columns(sheet, {*names})
    if not classes:
        raise DataError(f"{sheet.path} has neither a prediction column nor class columns. {EXPECTED}")
    codes = {name: number for number, name in enumerate(classes)}
    for (location, _), name in zip(sheet.rows, names, strict=True):
        if name not in codes:
            raise DataError(
                f"{sheet.path}, {location}: label {name!r} has no column; the table has {len(classes)} class "
                f"columns, such as {classes[0]!r}."
            )
    values = np.stack([sheet.numbers(name, unlimited=True) for name in classes], axis=1)
    empty_cells = np.argwhere(np.isnan(values))
    if len(empty_cells):
        row, column = empty_cells[0]
        raise DataError(f"{sheet.path}, {sheet.rows[row][0]}: the score of class {classes[column]!r} is empty.")
    nothing = np.flatnonzero(np.isneginf(values).all(axis=1))
    if len(nothing):
        raise DataError(f"{sheet.path}, {sheet.rows[nothing[0]][0]}: every class has the score -inf.")
    probabilities, notes = _as_probabilities(values)
    notes = (*left_out, *notes, *look_alikes(classes, str(sheet.path)))
    labels = np.array([codes[name] for name in names], dtype=np.int64)
    predictions = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    return Answers(ids, classes, labels, predictions, confidence, probabilities, notes)


def _class_columns(sheet: _Sheet, labels: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are classes, and a sentence about others, such as an index or an age.

    A column that no label uses is a class only if the rows sum to 1, or to 100, with it.

    Raises:
        DataError: the scores are no probabilities, so that this cannot be told.
    """
    named = tuple(name for name in sheet.columns if name not in ("id", "label"))
    unused = [name for name in named if name not in labels]
    others = [name for name in unused if sheet.numeric_share(name) < 1.0]
    numeric = [name for name in named if name not in others]
    broken = [name for name in others if sheet.numeric_share(name) >= 0.5]
    if broken and {*named} & labels:
        used = np.stack([sheet.numbers(name, unlimited=True) for name in named if name in labels], axis=1)
        if not _sums_alike(used):
            # It may be a class, and then this cell is wrong.
            sheet.numbers(broken[0], unlimited=True)
    zeros: list[str] = []
    if len(others) < len(unused) and {*numeric} & labels:
        table = {name: sheet.numbers(name, unlimited=True) for name in numeric}
        every = np.stack([*table.values()], axis=1)
        # An empty cell is an error of its own.
        if not np.isnan(every).any() and not _sums_alike(every):
            used = np.stack([column for name, column in table.items() if name in labels], axis=1)
            if not _sums_alike(used):
                raise DataError(
                    f"{sheet.path}: no label uses the columns {_listed([name for name in unused if name in numeric])}, "
                    "and rows that sum neither to 1 nor to 100 do not tell whether they are classes. Remove the "
                    "columns that are no classes, or turn the scores into probabilities."
                )
            others = unused
        zeros = [name for name in unused if name not in others and not table[name].any()]
    notes = []
    if others:
        notes.append(
            f"No label uses the columns {_listed(others)}, and the rows do not count them: they are no classes."
        )
    if zeros:
        notes.append(
            f"No label uses the columns {_listed(zeros)}, which are zero in every row: they count as classes. Remove "
            "them if they are something else."
        )
    return tuple(name for name in named if name not in others), tuple(notes)


def _sums_alike(values: NDArray[np.float64]) -> bool:
    """Return whether all rows are probabilities, percentages, or logarithms of probabilities."""
    if (values <= 0.0).all():
        values = np.exp(values)
    sums = values.sum(axis=1)
    return bool((values >= -NOISE).all()) and any((np.abs(sums - one) <= one * SUM_SLACK).all() for one in (1.0, 100.0))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _with_one_spelling(sheet: _Sheet) -> _Sheet:
    """Return the table with 1 and 1.0 as one label, where all labels and predictions are whole numbers.

    Names that differ only in their form of Unicode are one.
    """
    chosen = [number for number, name in enumerate(sheet.columns) if name in ("label", "prediction")]
    columns = tuple(unicodedata.normalize("NFC", name) for name in sheet.columns)
    rows = [
        (
            location,
            [unicodedata.normalize("NFC", cell) if number in chosen else cell for number, cell in enumerate(row)],
        )
        for location, row in sheet.rows
    ]
    _check_columns(sheet.path, columns)
    sheet = _Sheet(sheet.path, columns, rows)
    names = {row[number] for _, row in sheet.rows for number in chosen} - {""}
    if not all(WHOLE.fullmatch(name) for name in names):
        return sheet
    columns = tuple(name.partition(".")[0] if WHOLE.fullmatch(name) else name for name in sheet.columns)
    rows = [
        (location, [cell.partition(".")[0] if number in chosen else cell for number, cell in enumerate(row)])
        for location, row in sheet.rows
    ]
    return _Sheet(sheet.path, columns if len({*columns}) == len(columns) else sheet.columns, rows)


def _as_probabilities(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return rows that sum to 1, and notes about the assumptions behind them."""
    if values.min() >= -NOISE:
        values = np.maximum(values, 0.0)
    sums = values.sum(axis=1)
    # Whole percentages of many classes sum to 100 only nearly.
    if values.min() >= 0.0 and (np.abs(sums - 100.0) <= 100.0 * ROUNDED_SLACK).all():
        exact = (np.abs(sums - 100.0) <= 100.0 * SUM_SLACK).all()
        rounded = "" if exact else f" (rounded: from {sums.min():.4g} to {sums.max():.4g}), and divided by their sums"
        return values / sums[:, None], (f"The rows sum to 100{rounded}, so they were treated as percentages.",)
    deviation = np.abs(sums - 1.0)
    nearly = values.min() >= 0.0 and (deviation <= ROUNDED_SLACK).all()
    if not nearly and (values.min() < 0.0 or values.max() > 1.0 + SUM_SLACK):
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        value_range = f"{values[np.isfinite(values)].min():.3g} to {values.max():.3g}"
        return shifted / shifted.sum(axis=1, keepdims=True), (
            f"The class columns range from {value_range}, so they were treated as logits and passed through softmax.",
        )
    notes = []
    empty, wrong = sums == 0.0, (deviation > SUM_SLACK) & (sums > 0.0)
    if empty.any():
        notes.append(f"{int(empty.sum())} rows are all zero and were treated as uniform probabilities.")
    if wrong.any():
        notes.append(
            f"{int(wrong.sum())} of {len(values)} rows do not sum to 1 (they sum to {sums[wrong].min():.3g} to "
            f"{sums[wrong].max():.3g}); each was divided by its sum."
        )
    probabilities = np.where(empty[:, None], 1.0 / values.shape[1], values / np.where(empty, 1.0, sums)[:, None])
    return probabilities, tuple(notes)


def read_scored_pairs(path: Path) -> ScoredPairs:
    """Read scores of pairs. Raises `DataError` for a table that is not valid."""
    sheet = _read(path, ("a", "b", "same", "score"), PAIRS_EXPECTED)
    pairs = [tuple(sorted(pair)) for pair in zip(sheet.column("a"), sheet.column("b"), strict=True)]
    _require_unique(sheet, pairs, "the pair")
    flags = []
    for (location, _), text in zip(sheet.rows, sheet.column("same"), strict=True):
        if text.lower() not in TRUE | FALSE:
            raise DataError(f"{path}, {location}: same is {text!r}; expected 1 or 0 (or true, false, yes, no).")
        flags.append(text.lower() in TRUE)
    scores = sheet.numbers("score")
    if np.isnan(scores).any():
        raise DataError(f"{path}, {sheet.rows[int(np.argmax(np.isnan(scores)))][0]}: the score is empty.")
    return ScoredPairs(scores, np.array(flags, dtype=bool))


def _require_unique(sheet: _Sheet, keys: Iterable[str | tuple[str, ...]], what: str) -> None:
    seen: dict[str | tuple[str, ...], str] = {}
    for (location, _), key in zip(sheet.rows, keys, strict=True):
        if key in seen:
            named = repr(key) if isinstance(key, str) else " and ".join(map(repr, key))
            raise DataError(f"{sheet.path}, {location}: {what} {named} already occurs in {seen[key]}.")
        seen[key] = location


def read_columns(path: Path) -> tuple[str, ...]:
    """Return the column names of a table. Raises `DataError` for a file that is not a readable CSV or parquet."""
    return (_parquet(path) if path.suffix.lower() == ".parquet" else _csv(path))[0]


def _read(path: Path, needed: Sequence[str], expected: str) -> _Sheet:
    columns, rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    for name in needed:
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}; it has: {', '.join(columns) or 'none'}. {expected}")
    _check_columns(path, columns)
    if not rows:
        raise DataError(f"{path} has a header but no rows: there is nothing to measure.")
    return _Sheet(path, columns, rows)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has the column {repeated[0]!r} twice; column names must be unique.")


def _csv(path: Path) -> tuple[tuple[str, ...], Sequence[tuple[str, Sequence[str]]]]:
    with opened_csv(path, KNOWN) as opened:
        return opened.header, [(f"line {line}", cells) for line, cells in opened.rows]


def _parquet(path: Path) -> tuple[tuple[str, ...], Sequence[tuple[str, Sequence[str]]]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"{path} is parquet, which needs pyarrow. Write a CSV, or install it: {install('data')}"
        ) from error
    with explained("read", path):
        try:
            table = parquet.read_table(path)
        except ValueError as error:
            raise DataError(f"{path} is not a readable parquet file ({error}).") from error
    cells = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    rows = [(f"row {number}", row) for number, row in enumerate(zip(*cells, strict=True), start=1)]
    return tuple(table.column_names), rows


def _cell(value: object) -> str:
    """Return a value as the text of a .csv; a missing one, such as a number that is NaN, becomes empty."""
    if value is None or value != value:
        return ""
    return (value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)).strip()
