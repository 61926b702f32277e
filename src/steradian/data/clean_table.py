"""The columns of a table that names images, without rows that say nothing or the same thing twice."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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


WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:[.]0+)?")
"""A whole number without leading zeros, which would be part of a name."""

NO_NUMBER = frozenset({"nan", "<na>", "nat"})
"""What pandas writes for a missing value, in lower case."""

HIDDEN_LABEL = "-1"
"""The label of test images whose class a benchmark keeps to itself."""


def cleaned(table: Table) -> tuple[Table, tuple[str, ...]]:
    """Return a table with ``path`` and ``label`` without repeated rows and hidden labels, and what was left out.

    Raises:
        DataError: a label that is not a number, or one file with two labels, splits or groups.
    """
    table = with_one_spelling(table)
    hidden = hidden_rows(table)
    table, repeated = _without_repeats(table.taken(np.flatnonzero(~hidden)))
    return table, (*hidden_notes(table.path, hidden), *repeated)


def with_one_spelling(table: Table) -> Table:
    """Return the table with labels such as 1 and 1.0 as one, where all labels are whole numbers.

    Raises:
        DataError: a label such as NaN, which stands for a missing one.
    """
    codes, names = codes_of(table.columns["label"], len(table.rows))
    for number, name in enumerate(names):
        if name.lower() in NO_NUMBER:
            row = int(np.flatnonzero(codes == number)[0])
            raise DataError(
                f"{table.path}, {table.place(row)}: the label is {name!r}, which stands for a missing value. Remove "
                "the rows without a label; if it is the name of a class, write it in another way."
            )
    if not all(WHOLE.fullmatch(name) for name in names) or not any("." in name for name in names):
        return table
    spelled = text_column([name.partition(".")[0] for name in names])
    return replace(table, columns={**table.columns, "label": spelled[codes]})


def hidden_rows(table: Table) -> NDArray[np.bool_]:
    """Return which rows have the label -1, where only test images have it and all other labels are whole numbers."""
    hidden: NDArray[np.bool_] = np.asarray(table.columns["label"] == HIDDEN_LABEL, dtype=bool)
    nothing = np.zeros(len(table.rows), dtype=bool)
    if "split" not in table.columns or not hidden.any() or hidden.all():
        return nothing
    _, others = codes_of(table.columns["label"][~hidden], int((~hidden).sum()))
    splits = {SPLIT_NAMES.get(split.lower(), split) for split in table.columns["split"][hidden]}
    return hidden if splits == {"test"} and all(WHOLE.fullmatch(name) for name in others) else nothing


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
    hashes = np.fromiter(
        (hash(os.path.normpath(path)) for path in table.columns["path"]), dtype=np.int64, count=len(table.rows)
    )
    _, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[group] > 1)
    if not len(suspects):
        return table, ()
    first: dict[str, int] = {}
    left_out = []
    for row in suspects.tolist():
        path = os.path.normpath(table.columns["path"][row])
        before = first.setdefault(path, row)
        if before == row:
            continue
        for name in ("label", "split", "group"):
            if name in table.columns and table.columns[name][before] != table.columns[name][row]:
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
