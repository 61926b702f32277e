"""The columns of a table that names images, without rows that say nothing or the same thing twice."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import SPLIT_NAMES
from steradian.data.text_column import Texts, codes_of, text_column
from steradian.errors import DataError

COLUMNS = frozenset({"path", "label", "split", "group", "id", "landmark_id", "images", "landmarks"})
"""Columns that are read; others, such as url, are left where they are."""


@dataclass(frozen=True)
class Table:
    """The columns of a table that names images.

    Attributes:
        path: of the table.
        header: names of all its columns.
        columns: the values [R] of those in `COLUMNS`, without surrounding spaces; missing ones are empty.
        rows: int64 [R], number of each row in the file, for messages.
        unit: what a row is called.
    """

    path: Path
    header: tuple[str, ...]
    columns: Mapping[str, Texts]
    rows: NDArray[np.int64]
    unit: str = "line"

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self.path if self.path.is_dir() else self.path.parent

    def place(self, row: int) -> str:
        """Return where a row is."""
        return f"{self.unit} {self.rows[row]}"

    def first_empty(self, column: str) -> int | None:
        """Return the first row without a value in ``column``, or None."""
        return next(iter(np.flatnonzero(self.columns[column] == "").tolist()), None)

    def taken(self, chosen: NDArray[np.intp]) -> Table:
        """Return the table with the rows ``chosen`` only."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows[chosen])


NUMBER = re.compile(r"(-?)0*([0-9]+?)(?:[.]0+)?")
"""A whole number in any spelling."""

WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:[.]0+)?")
"""A whole number without leading zeros, which would be part of a name."""

NO_NUMBER = frozenset({"nan", "<na>", "nat", "#n/a", "#na", "#ref!", "#value!", "#name?", "#div/0!", "#null!"})
"""What pandas and spreadsheets write for a missing value, in lower case."""

PERHAPS_MISSING = frozenset({"none", "null", "n/a", "na", "-1", "missing"})
"""Labels that may stand for a missing value, or may be names of classes."""

HIDDEN_LABEL = "-1"
"""The label of test images whose class a benchmark keeps to itself."""


def cleaned(table: Table) -> tuple[Table, tuple[str, ...]]:
    """Return a table with ``path`` and ``label`` without repeated rows and hidden labels, and what was left out.

    Raises:
        DataError: a label that is not a number, or one file with two labels, splits or groups.
    """
    hidden = hidden_rows(table)
    table = table.taken(np.flatnonzero(~hidden))
    labels, spelling = with_one_spelling(table.columns["label"], str(table.path), table.place)
    table, repeated = _without_repeats(replace(table, columns={**table.columns, "label": labels}))
    return table, (*hidden_notes(table.path, hidden), *spelling, *repeated)


def with_one_spelling(labels: Texts, source: str, place: Callable[[int], str]) -> tuple[Texts, tuple[str, ...]]:
    """Return labels [N] with 1 and 1.0 as one, where all are whole numbers, and notes on names that look alike.

    Args:
        place: row -> where it is, for messages.

    Raises:
        DataError: a label such as NaN, which stands for a missing one.
    """
    codes, names = codes_of(labels, len(labels))
    for number, name in enumerate(names):
        if name.lower() in NO_NUMBER:
            row = int(np.flatnonzero(codes == number)[0])
            raise DataError(
                f"{source}, {place(row)}: the label is {name!r}, which stands for a missing value. Remove "
                "the rows without a label; if it is the name of a class, write it in another way."
            )
    if all(WHOLE.fullmatch(name) for name in names) and any("." in name for name in names):
        return text_column([name.partition(".")[0] for name in names])[codes], ()
    return labels, (*look_alikes(names, source), *_perhaps_missing(names, codes, source))


def look_alikes(names: Iterable[str], source: str) -> tuple[str, ...]:
    """Return a sentence about names that differ in a way that is easily overlooked, or nothing."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", "".join(one for one in name if unicodedata.category(one) != "Cf"))
        number = NUMBER.fullmatch(plain)
        groups.setdefault("".join(number.groups()) if number else plain.casefold(), []).append(name)
    pairs = [group for group in groups.values() if len(group) > 1]
    if not pairs:
        return ()
    listed = "; ".join(" and ".join(map(repr, group[:3])) for group in pairs[:3])
    more = f"; and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return (f"{source}: names that are nearly the same are different classes: {listed}{more}.",)


def _perhaps_missing(names: Sequence[str], codes: NDArray[np.int64], source: str) -> tuple[str, ...]:
    # Where all labels are numbers, only -1 is odd; elsewhere it is one of the words for a missing value.
    numbers = all(WHOLE.fullmatch(name) for name in names)
    odd = [number for number, name in enumerate(names) if name.lower() in PERHAPS_MISSING and not numbers]
    if numbers and HIDDEN_LABEL in names:
        odd = [list(names).index(HIDDEN_LABEL)]
    return tuple(
        f"{source}: the label {names[number]!r} of {int((codes == number).sum()):,} images is taken for the name of a "
        "class. If it stands for a missing one, remove these rows."
        for number in odd
    )


def hidden_rows(table: Table) -> NDArray[np.bool_]:
    """Return which rows have the label -1, where only test images have it."""
    hidden: NDArray[np.bool_] = np.asarray(table.columns["label"] == HIDDEN_LABEL, dtype=bool)
    nothing = np.zeros(len(table.rows), dtype=bool)
    if "split" not in table.columns or not hidden.any() or hidden.all():
        return nothing
    splits = {SPLIT_NAMES.get(split.lower(), split) for split in table.columns["split"][hidden]}
    return hidden if splits == {"test"} else nothing


def hidden_notes(path: Path, hidden: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return a sentence about rows whose label is hidden, or nothing. Raises `DataError` if all are."""
    if not hidden.any():
        return ()
    count = int(hidden.sum())
    said = f"{path}: the class of {count:,} image{'s' * (count != 1)} is hidden (label {HIDDEN_LABEL})"
    if hidden.all():
        raise DataError(f"{said}. Name the files of the other parts, such as train and validation.")
    return (f"{said}; they are left out." if count > 1 else f"{said}; it is left out.",)


def _without_repeats(table: Table) -> tuple[Table, tuple[str, ...]]:
    """Return the table with each file once, and a sentence if that left rows out."""
    folder = str(table.folder)
    hashes = np.fromiter(
        (hash(_one_path(path, folder)) for path in table.columns["path"]), dtype=np.int64, count=len(table.rows)
    )
    _, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[group] > 1)
    if not len(suspects):
        return table, ()
    first: dict[str, int] = {}
    left_out = []
    for row in suspects.tolist():
        path = _one_path(table.columns["path"][row], folder)
        before = first.setdefault(path, row)
        if before == row:
            continue
        for name in ("label", "split", "group"):
            if name in table.columns and _differ(name, table.columns[name][before], table.columns[name][row]):
                raise DataError(
                    f"{table.path} names {path} twice, with {name} {str(table.columns[name][before])!r} in "
                    f"{table.place(before)} and {str(table.columns[name][row])!r} in {table.place(row)}. Keep one row."
                )
        left_out.append(row)
    if not left_out:
        return table, ()
    kept = np.setdiff1d(np.arange(len(table.rows)), np.array(left_out))
    return table.taken(kept), (
        f"{table.path}: {len(left_out):,} of {len(table.rows):,} rows name a file that an earlier row has named, such "
        f"as {table.place(left_out[0])}; each file is taken once.",
    )


def _one_path(path: str, folder: str) -> str:
    """Return a path as all of its spellings are compared: relative to ``folder``, with slashes."""
    if "\\" in path and not os.path.lexists(os.path.join(folder, path)):  # noqa: PTH118 - made for every image
        path = path.replace("\\", "/")
    if path.startswith("/"):
        path = os.path.relpath(path, os.path.abspath(folder))  # noqa: PTH100
    return os.path.normpath(path)


def _differ(column: str, first: str, second: str) -> bool:
    if column == "split":
        first, second = (SPLIT_NAMES.get(one.lower(), one) for one in (first, second))
    return unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second)
