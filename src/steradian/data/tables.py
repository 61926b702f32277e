"""Read tables that name images: a .csv or .parquet of paths and labels, or an index of Google Landmarks v2."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steradian.data.clean_table import COLUMNS, Table, cleaned
from steradian.data.csv_rows import opened_csv
from steradian.data.images import EXPECTED, SPLIT_NAMES, SPLITS, FileItems, ImageSet, labeled
from steradian.data.remote import is_remote
from steradian.data.text_column import TextBuilder, Texts, codes_of, text_column
from steradian.errors import DataError

NOTHING = "(no landmark)"
"""Class of the Google Landmarks images that show no landmark."""


def open_csv(path: Path, skip_missing: bool = False) -> ImageSet:
    """Open a .csv of ``path,label[,split][,group]``, paths relative to it, or an index of Google Landmarks v2."""
    with opened_csv(path, sorted(COLUMNS)) as opened:
        header = opened.header
        used = [(number, name) for number, name in enumerate(header) if name in COLUMNS]
        builders = {name: TextBuilder() for _, name in used}
        lines: list[int] = []
        for line, values in opened.rows:
            lines.append(line)
            for number, name in used:
                builders[name].append(values[number])
    columns = {name: builder.column() for name, builder in builders.items()}
    table = Table(path, header, columns, np.array(lines, dtype=np.int64))
    if LANDMARK_COLUMNS.get(frozenset(header) - {"url", "usage", "Usage"}):
        return _open_landmarks(table)
    return open_table(table, skip_missing)


def open_table(table: Table, skip_missing: bool = False, notes: tuple[str, ...] = ()) -> ImageSet:
    """Return the images that the rows of ``table`` name; with ``skip_missing``, without those that do not exist.

    ``notes`` say what was left out before.
    """
    path = table.path
    for column in ("path", "label"):
        if column not in table.columns:
            present = ", ".join(table.header) or "none"
            raise DataError(f"{path} has no column {column!r}; it has: {present}. {EXPECTED}")
    empty = [row for name in ("path", "label") if (row := table.first_empty(name)) is not None]
    if empty:
        raise DataError(f"{path}, {table.place(min(empty))}: both path and label are required.")
    table, left_out = cleaned(table)
    notes += left_out
    names, labels, folder = table.columns["path"], table.columns["label"], table.folder
    splits, groups = told(table)
    if is_remote(path):
        # Asking for each file would take a request each; a missing one is noticed when it is read.
        return labeled(str(path), FileItems(folder, names), labels, splits, groups, notes)
    sizes = file_sizes(folder, names)
    names, sizes = _with_slashes(folder, names, sizes)
    missing = np.flatnonzero(sizes < 0)
    if len(missing):
        listed = "\n".join(f"  {table.place(row)}: {folder / str(names[row])}" for row in missing[:10].tolist())
        more = f"\n  and {len(missing) - 10} more" if len(missing) > 10 else ""
        if not skip_missing or len(missing) == len(names):
            raise DataError(
                f"{path} names {len(missing)} file(s) that do not exist (paths are relative to {folder}):\n"
                f"{listed}{more}\nCorrect the paths, or leave these rows out with --skip-missing."
            )
        notes = (
            *notes,
            f"{len(missing):,} of {len(names):,} rows of {path} name files that do not exist, and are left out:\n"
            f"{listed}{more}",
        )
    there = np.flatnonzero(sizes >= 0)
    return labeled(
        str(path),
        FileItems(folder, names[there], sizes[there]),
        labels[there],
        None if splits is None else splits[there],
        None if groups is None else groups[there],
        notes,
    )


def _with_slashes(folder: Path, names: Texts, sizes: NDArray[np.int64]) -> tuple[Texts, NDArray[np.int64]]:
    """Return names and sizes with slashes for the backslashes of Windows, where the file is there so."""
    tried = np.flatnonzero((sizes < 0) & np.array(["\\" in name for name in names], dtype=bool))
    if not len(tried):
        return names, sizes
    forward = text_column([names[row].replace("\\", "/") for row in tried])
    found = file_sizes(folder, forward)
    names, sizes = names.copy(), sizes.copy()
    names[tried[found >= 0]], sizes[tried[found >= 0]] = forward[found >= 0], found[found >= 0]
    return names, sizes


def told(table: Table) -> tuple[NDArray[np.str_] | None, Texts | None]:
    """Return splits and groups; None for a column that the table lacks."""
    splits = _splits(table) if "split" in table.columns else None
    if "group" not in table.columns:
        return splits, None
    row = table.first_empty("group")
    if row is not None:
        raise DataError(
            f"{table.path}, {table.place(row)}: the group is empty. Give every image a group, or remove the column."
        )
    return splits, table.columns["group"]


def _splits(table: Table) -> NDArray[np.str_]:
    codes, names = codes_of(table.columns["split"], len(table.rows))
    known = []
    for number, name in enumerate(names):
        if name.lower() not in SPLIT_NAMES:
            row = int(np.flatnonzero(codes == number)[0])
            raise DataError(
                f"{table.path}, {table.place(row)}: split is {name.lower()!r}; expected one of {', '.join(SPLITS)}."
            )
        known.append(SPLIT_NAMES[name.lower()])
    found: NDArray[np.str_] = np.array(known, dtype="U10")[codes]
    return found


def file_sizes(folder: Path, names: Sequence[str] | Texts) -> NDArray[np.int64]:
    """Return the size in bytes of each file ``names`` in ``folder``, int64; -1 for one that does not exist."""
    sizes = np.empty(len(names), dtype=np.int64)
    for number, name in enumerate(names):
        sizes[number] = _size(os.path.join(folder, name))  # noqa: PTH118 - a Path each would take four times as long
    return sizes


def _size(path: str) -> int:
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


LANDMARK_COLUMNS: dict[frozenset[str], str] = {
    frozenset({"id", "landmark_id"}): "train.csv: an image and its landmark",
    frozenset({"landmark_id", "images"}): "train_clean.csv: a landmark and its images",
    frozenset({"id", "landmarks"}): "recognition_solution_v2.1.csv: an image and its landmarks, none for most",
}
"""Columns of the index files of Google Landmarks v2 (Weyand et al. 2020), apart from url and Usage."""


def _open_landmarks(table: Table) -> ImageSet:
    """Open an index of Google Landmarks v2, with images in PART/a/b/c/abc….jpg beside it.

    Missing images are left out, with a note, because few users have all five million. An image of several landmarks
    gets the first.
    """
    path, columns = table.path, table.columns
    names, labels, rows = TextBuilder(), TextBuilder(), []
    if "images" in columns:
        for line, images, landmark in zip(table.rows.tolist(), columns["images"], columns["landmark_id"], strict=True):
            for name in images.split():
                rows.append(line)
                names.append(name)
                labels.append(landmark)
    else:
        landmark_column = columns["landmark_id" if "landmark_id" in columns else "landmarks"]
        for line, name, landmarks in zip(table.rows.tolist(), columns["id"], landmark_column, strict=True):
            rows.append(line)
            names.append(name)
            labels.append((landmarks.split() or [NOTHING])[0])
    unclean = Table(path, table.header, {"path": names.column(), "label": labels.column()}, np.array(rows))
    table, left_out = cleaned(unclean)
    if usage := {"usage", "Usage"} & set(table.header):
        left_out = (*left_out, f"the column {usage.pop()} of {path} is not used: all its images are one part.")
    named, label_of = table.columns["path"], table.columns["label"]
    parts = [part for part in ("train", "index", "test", ".") if (path.parent / part).is_dir()]
    if is_remote(path):
        # As for other tables, a missing file is noticed when it is read.
        inside = [_inside(name) for name in named]
        known = np.flatnonzero([bool(name) for name in inside])
        files = text_column([f"{parts[0] if parts else '.'}/{inside[index]}" for index in known])
        return labeled(str(path), FileItems(path.parent, files), label_of[known], notes=left_out)
    files, sizes = _landmark_files(path.parent, parts, named)
    there = np.flatnonzero(sizes >= 0)
    if not len(there):
        raise DataError(
            f"{path} names {len(named):,} images of Google Landmarks, but none of them exists. Expected them beside "
            f"it, such as {path.parent / 'train' / 'a' / 'b' / 'c' / 'abc0123456789def.jpg'}."
        )
    missing = len(named) - len(there)
    note = f"{missing:,} of the {len(named):,} images that {path} names do not exist, and are left out."
    items = FileItems(path.parent, files[there], sizes[there])
    return labeled(str(path), items, label_of[there], notes=(*left_out, note) if missing else left_out)


def _landmark_files(folder: Path, parts: Sequence[str], names: Texts) -> tuple[Texts, NDArray[np.int64]]:
    """Return the path of each image in ``folder`` and its size; -1 where it is in none of the ``parts``."""
    paths = text_column([_inside(name) for name in names])
    files, sizes = paths, np.full(len(names), -1, dtype=np.int64)
    usable = np.flatnonzero(paths != "")
    for part in parts:
        left = usable[sizes[usable] < 0]
        if not len(left):
            break
        tried = text_column([f"{part}/{path}" for path in paths[left]])
        found = file_sizes(folder, tried)
        hits = left[found >= 0]
        if files is paths:
            files = paths.copy()
        files[hits], sizes[hits] = tried[found >= 0], found[found >= 0]
    return files, sizes


def _inside(name: str) -> str:
    """Return the path of an image inside its part; empty for a name that cannot be one."""
    return f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg" if len(name) >= 3 and name.isalnum() else ""
