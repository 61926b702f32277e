"""Read images from parquet files as on the Hugging Face hub: a column of image bytes and one of labels."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steradian.data.decode import Pixels, decode
from steradian.data.images import EXPECTED, SPLIT_NAMES, ImageSet, labeled
from steradian.data.tables import Row, open_rows, told
from steradian.errors import DataError, UsageError
from steradian.extras import install
from steradian.files import explained, printable

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

    def __len__(self) -> int:
        return len(self.place)

    def name(self, index: int) -> str:
        file, group, row = self.place[index]
        return printable(f"{self.files[file]}[{group}:{row}]")

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        file, group, row = (int(part) for part in self.place[index])
        content = self._group(file, group)[row]
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise DataError("the row holds no image")
        return decode(content, shortest)

    def _group(self, file: int, group: int) -> list[Any]:
        from pyarrow import ArrowException, parquet

        with self._lock:
            if (file, group) not in self._groups:
                try:
                    parquet_file = parquet.ParquetFile(self.files[file])
                    if parquet_file.metadata.row_group(group).total_byte_size > MAX_GROUP:
                        raise DataError(f"its row group {group} unpacks to more than {MAX_GROUP:,} bytes")
                    table = parquet_file.read_row_group(group, columns=[self.column])
                except (ArrowException, OSError) as error:
                    raise DataError(f"row group {group} cannot be read ({error})") from error
                self._groups[file, group] = table.column(self.column).to_pylist()
                if len(self._groups) > OPEN_GROUPS:
                    self._groups.popitem(last=False)
            return self._groups[file, group]


def open_parquet(source: Path) -> ImageSet:
    """Open a .parquet, or a folder of them whose names begin with their split (``train-00000-of-00002.parquet``).

    Images are in a column ``image`` (bytes, or {bytes, path}), or in the files that a column ``path`` names. Classes
    are in ``label``, as text, or as numbers whose names are in the hub's metadata.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError(f"Parquet files need pyarrow: {install('data')}") from error
    files = tuple(sorted(source.rglob("*.parquet"))) if source.is_dir() else (source,)
    rows: list[Row] = []
    positions: list[tuple[int, int, int]] = []
    columns: list[str] = []
    for number, path in enumerate(files):
        with explained("read", path):
            try:
                parquet_file = parquet.ParquetFile(path)
                columns = list(parquet_file.schema_arrow.names)
                metadata_columns = [name for name in ("path", "label", "split", "group") if name in columns]
                records = parquet_file.read(columns=metadata_columns).to_pylist()
                sizes = [
                    parquet_file.metadata.row_group(group).num_rows
                    for group in range(parquet_file.metadata.num_row_groups)
                ]
                classes = _class_names(parquet_file.schema_arrow.metadata or {})
            except ArrowException as error:
                raise DataError(f"{path} is not a readable .parquet ({error}).") from error
        prefix = path.stem.split("-")[0].lower()
        split = {"split": prefix} if len(files) > 1 and prefix in SPLIT_NAMES else {}
        for row, values in enumerate(records):
            values["label"] = _label(values.get("label"), classes, path, row)
            rows.append(Row(f"row {row}", {**split, **{key: _text(value) for key, value in values.items()}}))
        positions += [(number, group, row) for group, size in enumerate(sizes) for row in range(size)]
    used_columns = sorted({key for row in rows for key in row.values})
    if "image" not in columns:
        return open_rows(source, columns, rows)
    if "label" not in columns:
        raise DataError(f"{source} has no column 'label'; it has: {', '.join(columns)}. {EXPECTED}")
    unlabeled = next((row for row in rows if not row.get("label")), None)
    if unlabeled is not None:
        raise DataError(f"{source}, {unlabeled.place}: the label is empty.")
    items = ParquetItems(files, "image", np.array(positions, dtype=np.int64).reshape(-1, 3))
    return labeled(str(source), items, [row.get("label") for row in rows], *told(source, used_columns, rows))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _class_names(metadata: dict[bytes, bytes]) -> list[str]:
    """Return the class names from the metadata that the library `datasets` writes, or an empty list."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _label(value: Any, classes: list[str], path: Path, row: int) -> str | None:
    if value is None or not classes or not isinstance(value, int):
        return _text(value)
    if not 0 <= value < len(classes):
        raise DataError(f"{path}, row {row}: the label is {value}, but the metadata names {len(classes)} classes.")
    return classes[value]
