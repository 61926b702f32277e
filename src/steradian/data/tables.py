"""Read tables that name images: a .csv or .parquet of paths and labels, or an index of Google Landmarks v2."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steradian.data.images import EXPECTED, SPLIT_NAMES, SPLITS, FileItems, ImageSet, labeled
from steradian.errors import DataError
from steradian.files import explained

NOTHING = "(no landmark)"
"""Class of the Google Landmarks images that show no landmark."""


@dataclass(frozen=True)
class Row:
    """A row of a table: its location for messages, and its values by column."""

    place: str
    values: Mapping[str, str | None]

    def get(self, column: str) -> str:
        """Return the value without surrounding spaces, or an empty string if it is missing."""
        return (self.values.get(column) or "").strip()


def open_csv(path: Path) -> ImageSet:
    """Open a .csv of ``path,label[,split][,group]``, paths relative to it, or an index of Google Landmarks v2."""
    try:
        with explained("read", path), path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            columns = [(column or "").strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [Row(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} is not a readable .csv ({error}).") from error
    if LANDMARK_COLUMNS.get(frozenset(columns) - {"url", "usage", "Usage"}):
        return _open_landmarks(path, columns, rows)
    return open_rows(path, columns, rows)


def open_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> ImageSet:
    """Return the images that ``rows`` of the table ``path`` name."""
    for column in ("path", "label"):
        if column not in columns:
            present = ", ".join(columns) or "none"
            raise DataError(f"{path} has no column {column!r}; it has: {present}. {EXPECTED}")
    for row in rows:
        if not row.get("path") or not row.get("label"):
            raise DataError(f"{path}, {row.place}: both path and label are required.")
    files = tuple(path.parent / row.get("path") for row in rows)
    missing = [f"  {row.place}: {file}" for row, file in zip(rows, files, strict=True) if not _is_file(file)]
    if missing:
        listed = "\n".join(missing[:10])
        more = f"\n  and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{path} names {len(missing)} file(s) that do not exist (paths are relative to the {path.suffix}):\n"
            f"{listed}{more}"
        )
    splits, groups = told(path, columns, rows)
    return labeled(str(path), FileItems(files), [row.get("label") for row in rows], splits, groups)


def told(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str] | None, list[str] | None]:
    """Return splits and groups; None for a column that the table lacks."""
    splits = [_split(path, row) for row in rows] if "split" in columns else None
    if "group" not in columns:
        return splits, None
    for row in rows:
        if not row.get("group"):
            raise DataError(f"{path}, {row.place}: the group is empty. Give every image a group, or remove the column.")
    return splits, [row.get("group") for row in rows]


def _split(path: Path, row: Row) -> str:
    name = row.get("split").lower()
    if name not in SPLIT_NAMES:
        raise DataError(f"{path}, {row.place}: split is {name!r}; expected one of {', '.join(SPLITS)}.")
    return SPLIT_NAMES[name]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


LANDMARK_COLUMNS: dict[frozenset[str], str] = {
    frozenset({"id", "landmark_id"}): "train.csv: an image and its landmark",
    frozenset({"landmark_id", "images"}): "train_clean.csv: a landmark and its images",
    frozenset({"id", "landmarks"}): "recognition_solution_v2.1.csv: an image and its landmarks, none for most",
}
"""Columns of the index files of Google Landmarks v2 (Weyand et al. 2020), apart from url and Usage."""


def _open_landmarks(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> ImageSet:
    """Open an index of Google Landmarks v2, with images in PART/a/b/c/abc….jpg beside it.

    Missing images are skipped, because few users have all five million. An image of several landmarks gets the first.
    """
    if "images" in columns:
        named = [(name, row.get("landmark_id")) for row in rows for name in row.get("images").split()]
    else:
        column = "landmark_id" if "landmark_id" in columns else "landmarks"
        named = [(row.get("id"), (row.get(column).split() or [NOTHING])[0]) for row in rows]
    parts = [part for part in ("train", "index", "test", ".") if (path.parent / part).is_dir()]
    files = [(file, label) for name, label in named if (file := _landmark_file(path.parent, parts, name)) is not None]
    if not files:
        raise DataError(
            f"{path} names {len(named):,} images of Google Landmarks, but none of them exists. Expected them beside "
            f"it, such as {path.parent / 'train' / 'a' / 'b' / 'c' / 'abc0123456789def.jpg'}."
        )
    return labeled(str(path), FileItems(tuple(file for file, _ in files)), [label for _, label in files])


def _landmark_file(folder: Path, parts: Sequence[str], name: str) -> Path | None:
    if len(name) < 3 or not name.isalnum():
        return None
    candidates = (folder / part / name[0] / name[1] / name[2] / f"{name}.jpg" for part in parts)
    return next((file for file in candidates if file.is_file()), None)
