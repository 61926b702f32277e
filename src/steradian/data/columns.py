"""Read images from parquet files as on the Hugging Face hub: a column of image bytes and one of labels."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.clean_table import HIDDEN_LABEL, Table, hidden_notes, hidden_rows, with_one_spelling
from steradian.data.decode import Content
from steradian.data.file_kinds import tables_in
from steradian.data.images import EXPECTED, SPLIT_NAMES, ImageSet, check_different, labeled, sampled_content
from steradian.data.remote import is_remote, runs_an_event_loop
from steradian.data.tables import open_table, told
from steradian.data.text_column import Texts, text_column
from steradian.errors import DataError, UsageError
from steradian.extras import install
from steradian.files import explained, printable, sha256_of

OPEN_GROUPS = 4
"""Number of row groups kept in memory; a few suffice, because images are mostly read in order."""

MAX_GROUP = 2 * 2**30
"""A row group that claims more than 2 GiB is refused before it is read."""


@dataclass
class ParquetItems:
    """Images in a column of parquet files, read one row group at a time.

    Attributes:
        files: the parquet files.
        column: name of the column of images, each bytes or {bytes, path}.
        place: int64 [N, 3]: file, row group, and row in the group, of each image.
    """

    files: tuple[Path, ...]
    column: str
    place: np.ndarray[Any, np.dtype[np.int64]]
    _groups: OrderedDict[tuple[int, int], list[Any]] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the files itself; a lock cannot be pickled.
        return type(self), (self.files, self.column, self.place)

    @property
    def needs_spawn(self) -> bool:
        return runs_an_event_loop(self.files[0])

    def __len__(self) -> int:
        return len(self.place)

    def name(self, index: int) -> str:
        file, group, row = self.place[index]
        return printable(f"{self.files[file]}[{group}:{row}]")

    def content(self, index: int) -> Content:
        file, group, row = (int(part) for part in self.place[index])
        content = self._group(file, group)[row]
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise DataError("the row holds no image")
        return content

    def fingerprint(self) -> str:
        sizes = [(file.name, file.stat().st_size) for file in self.files]
        content = b"".join(sampled_content(file) for file in self.files)
        return sha256_of(repr(sizes).encode(), self.column.encode(), self.place.tobytes(), content)

    def _group(self, file: int, group: int) -> list[Any]:
        from pyarrow import ArrowException

        with self._lock:
            if (file, group) not in self._groups:
                try:
                    parquet_file = _parquet(self.files[file])
                    if parquet_file.metadata.row_group(group).total_byte_size > MAX_GROUP:
                        raise DataError(f"its row group {group} unpacks to more than {MAX_GROUP:,} bytes")
                    table = parquet_file.read_row_group(group, columns=[self.column])
                except (ArrowException, OSError) as error:
                    raise DataError(f"row group {group} cannot be read ({error})") from error
                self._groups[file, group] = table.column(self.column).to_pylist()
                if len(self._groups) > OPEN_GROUPS:
                    self._groups.popitem(last=False)
            return self._groups[file, group]


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path.open("rb") if is_remote(path) else path)


def open_parquet(source: Path, skip_missing: bool = False) -> ImageSet:
    """Open a .parquet, or a folder of them whose names begin with their split (``train-00000-of-00002.parquet``).

    Images are in a column ``image`` (bytes, or {bytes, path}), or in the files that a column ``path`` names. Classes
    are in ``label``, as text, or as numbers whose names are in the hub's metadata.
    """
    try:
        from pyarrow import ArrowException
    except ImportError as error:
        raise UsageError(f"Parquet files need pyarrow: {install('data')}") from error
    files, passed = tables_in(source, ".parquet") if source.is_dir() else ((source,), ())
    positions: list[NDArray[np.int64]] = []
    parts: list[dict[str, Texts]] = []
    rows: list[NDArray[np.int64]] = []
    unknown: list[NDArray[np.bool_]] = []
    header: list[str] = []
    named: list[list[str]] = []
    for number, path in enumerate(files):
        with explained("read", path):
            try:
                parquet_file = _parquet(path)
                header = list(parquet_file.schema_arrow.names)
                used = [name for name in ("path", "label", "split", "group") if name in header]
                content = parquet_file.read(columns=used)
                metadata = parquet_file.metadata
                sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
                classes = _class_names(parquet_file.schema_arrow.metadata or {})
            except ArrowException as error:
                raise DataError(f"{path} is not a readable .parquet ({error}).") from error
        named.append(classes)
        count = sum(sizes)
        columns: dict[str, Texts] = {name: _texts(content.column(name).to_pylist()) for name in used}
        unknown.append(np.zeros(count, dtype=bool))
        if classes and "label" in used:
            unknown[-1] = np.asarray(columns["label"] == HIDDEN_LABEL, dtype=bool)
            columns["label"] = _labels(content.column("label").to_pylist(), classes, path)
        prefix = path.stem.split("-")[0].lower()
        if len(files) > 1 and prefix in SPLIT_NAMES and "split" not in columns:
            columns["split"] = text_column([prefix] * count)
        parts.append(columns)
        rows.append(np.arange(count))
        groups = np.repeat(np.arange(len(sizes)), sizes)
        within = np.concatenate([np.arange(size) for size in sizes]) if sizes else groups
        positions.append(np.stack([np.full(count, number), groups, within], axis=1))
    if len({tuple(found) for found in named}) > 1:
        odd = next(number for number, found in enumerate(named) if found != named[0])
        raise DataError(f"{files[odd]} and {files[0]} name different classes in their metadata. Open one of them.")
    names = sorted({name for columns in parts for name in columns})
    joined = {
        name: np.concatenate(
            [columns.get(name, text_column([""] * len(row))) for columns, row in zip(parts, rows, strict=True)]
        )
        for name in names
    }
    table = Table(source, tuple(header), joined, np.concatenate(rows), "row")
    if "label" not in header:
        raise DataError(f"{source} has no column 'label'; it has: {', '.join(header)}. {EXPECTED}")
    hidden = np.concatenate(unknown) | hidden_rows(table)
    notes = hidden_notes(source, hidden)
    chosen = np.flatnonzero(~hidden)
    table = table.taken(chosen)
    if "image" not in header:
        return open_table(table, skip_missing, (*passed, *notes))
    unlabeled = table.first_empty("label")
    if unlabeled is not None:
        raise DataError(f"{source}, {table.place(unlabeled)}: the label is empty.")
    labels, spelling = with_one_spelling(table.columns["label"], str(source), table.place)
    items = ParquetItems(files, "image", np.concatenate(positions)[chosen])
    return labeled(str(source), items, labels, *told(table), (*passed, *notes, *spelling))


def _texts(values: list[Any]) -> Texts:
    # A missing number is NaN, which is unlike itself.
    return text_column(["" if value is None or value != value else str(value).strip() for value in values])


def _class_names(metadata: dict[bytes, bytes]) -> list[str]:
    """Return the class names from the metadata that the library `datasets` writes, or an empty list."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
    check_different(names, "the hub's metadata")
    return names


def _labels(values: list[Any], classes: list[str], path: Path) -> Texts:
    """Return the names of labels that are numbers in the hub's ``classes``; others are text already."""
    names: list[str | None] = []
    for row, value in enumerate(values):
        if value == int(HIDDEN_LABEL):
            names.append(None)
            continue
        if isinstance(value, int) and not 0 <= value < len(classes):
            raise DataError(f"{path}, row {row}: the label is {value}, but the metadata names {len(classes)} classes.")
        names.append(classes[value] if isinstance(value, int) else value)
    return _texts(names)
