"""One door for every kind of source: `open` tells a built-in name, a folder, a zip, an .npz and a .csv apart."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data import catalog
from steradian.data.decode import SUFFIXES
from steradian.data.images import DAMAGED_ZIP, EXPECTED, SPLITS, ArrayItems, FileItems, ImageSet, ZipItems
from steradian.errors import DataError, UsageError, did_you_mean
from steradian.files import explained, printable

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
MAX_ARRAY = 16 * 2**30
"""An array of over 16 GiB inside an .npz is refused before it is read."""


def open(source: str | Path, root: str | Path | None = None) -> ImageSet:  # noqa: A001 - reads as data.open
    """Open labeled images. Nothing is decoded yet.

    Args:
        source: a built-in name (`catalog.NAMES`), a folder with one folder per class, a zip of such a
            folder, an ``.npz`` with ``x`` uint8 [N, H, W(, 3)] and ``y`` int [N] (``names`` [C] optional), or a
            ``.csv`` with columns ``path,label[,split]``, paths relative to the file.
        root: where the files of a built-in set are, or are put (default: ``STERADIAN_DATA``, else a cache folder).

    Raises:
        UsageError: neither a built-in name nor an existing path.
        DataError: nothing usable in it, or labels that do not fit.
    """
    path = Path(source)
    if printable(path) != str(path):
        raise UsageError(f"The name {printable(path)} is not UTF-8, so no result could say it. Rename it.")
    if str(source) in catalog.NAMES and not path.is_dir():
        return _open_builtin(str(source), Path(root) if root is not None else None)
    if not path.exists():
        raise UsageError(
            f"There is no data set and no path called {str(source)!r}. {did_you_mean(str(source), catalog.NAMES)} "
            f"{EXPECTED}"
        )
    return _open_path(path)


def _open_path(path: Path) -> ImageSet:
    if path.is_dir():
        return _open_folder(path)
    readers = {".zip": _open_zip, ".npz": _open_npz, ".csv": _open_csv}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path} is of a kind that is not understood. {EXPECTED}")
    return readers[path.suffix.lower()](path)


def _open_builtin(name: str, root: Path | None) -> ImageSet:
    found = catalog.load(name, root)
    return _open_path(found) if isinstance(found, Path) else found


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _open_folder(folder: Path) -> ImageSet:
    with explained("read the folder", folder):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    relative = [PurePosixPath(path.relative_to(folder).as_posix()) for path in found]
    kept = [index for index, path in enumerate(relative) if not _hidden(path.parts)]
    labels, splits = _by_folder([relative[index] for index in kept], str(folder))
    return _labeled(str(folder), FileItems(tuple(found[index] for index in kept)), labels, splits)


def _open_zip(path: Path) -> ImageSet:
    with explained("read", path):
        try:
            with zipfile.ZipFile(path) as archive:
                members = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is not a readable zip ({error}). Copy or download it again.") from error
    kept = [
        name
        for name in members
        if PurePosixPath(name).suffix.lower() in SUFFIXES and not _hidden(PurePosixPath(name).parts)
    ]
    labels, splits = _by_folder([PurePosixPath(name) for name in kept], str(path))
    return _labeled(str(path), ZipItems(path, tuple(kept)), labels, splits)


def _by_folder(paths: Sequence[PurePosixPath], source: str) -> tuple[list[str], list[str] | None]:
    """Class names, and splits if there are any, from relative paths such as [split/]class/.../file."""
    if not paths:
        raise DataError(f"{source} holds no images. {EXPECTED}")
    parts = [path.parts for path in paths]
    while len({names[0] for names in parts}) == 1 and min(len(names) for names in parts) > 2:
        parts = [names[1:] for names in parts]
    loose = next((path for path, names in zip(paths, parts, strict=True) if len(names) < 2), None)
    if loose is not None:
        raise DataError(f"{source}: {loose} is not inside a class folder. {EXPECTED}")
    in_split = [names[0].lower() in SPLIT_NAMES and len(names) > 2 for names in parts]
    if any(in_split) and not all(in_split):
        odd = paths[in_split.index(False)]
        raise DataError(
            f"{source}: {odd} does not fit beside {paths[in_split.index(True)]}: with train/, validation/ or test/ "
            "folders, every image must be in SPLIT/CLASS/. Move or remove it."
        )
    if all(in_split):
        return [names[1] for names in parts], [SPLIT_NAMES[names[0].lower()] for names in parts]
    return [names[0] for names in parts], None


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays x, y and names of an .npz, once their headers claim no more than `MAX_ARRAY` bytes."""
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        for name in {"x", "y", "names"}.intersection(members):
            with archive.open(f"{name}.npy") as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
            claimed = math.prod(shape) * dtype.itemsize
            if claimed > MAX_ARRAY:
                raise DataError(f"{path}: {name} claims {claimed:,} bytes; at most {MAX_ARRAY:,} are read.")
            with archive.open(f"{name}.npy") as file:
                found[name] = np.lib.format.read_array(file, allow_pickle=False)
    missing = [name for name in ("x", "y") if name not in found]
    if missing:
        raise DataError(
            f"{path} has no array {missing[0]!r}; it has: {', '.join(members) or 'none'}. "
            "Expected x uint8 [N, H, W] or [N, H, W, 3] and y int [N]."
        )
    return found


def _open_npz(path: Path) -> ImageSet:
    try:
        with explained("read", path):
            arrays = _npz_arrays(path)
    except (*DAMAGED_ZIP, MemoryError) as error:
        raise DataError(f"{path} is not a readable .npz ({error}).") from error
    x, y = arrays["x"], arrays["y"]
    x = x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x
    if "names" in arrays and arrays["names"].ndim != 1:
        raise DataError(f"{path}: names must be a list [C], but has shape {list(arrays['names'].shape)}.")
    names = [str(name) for name in arrays["names"]] if "names" in arrays else None
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] != 3):
        raise DataError(f"{path}: x must be uint8 [N, H, W] or [N, H, W, 3], but is {x.dtype} {list(x.shape)}.")
    if 0 in x.shape:
        raise DataError(f"{path}: x is {list(x.shape)}: images of no pixels, or no images.")
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(y) != len(x):
        raise DataError(f"{path}: y must be whole numbers [{len(x)}], one per image, but is {y.dtype} {list(y.shape)}.")
    highest = len(names) - 1 if names else None
    wrong = np.flatnonzero((y < 0) | (y > highest if highest is not None else np.zeros(len(y), dtype=bool)))
    if len(wrong):
        raise DataError(
            f"{path}: y[{wrong[0]}] is {y[wrong[0]]}, but labels run from 0"
            + (f" to {highest} (the number of names)." if highest is not None else ".")
        )
    labels = [names[int(value)] for value in y] if names else [str(value) for value in y]
    return _labeled(str(path), ArrayItems(str(path), x), labels, None)


def _open_csv(path: Path) -> ImageSet:
    try:
        with explained("read", path), path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            columns = [(column or "").strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            for column in ("path", "label"):
                if column not in columns:
                    has = ", ".join(columns) or "none"
                    raise DataError(f"{path} has no column {column!r}; it has: {has}. {EXPECTED}")
            rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} is not a readable .csv ({error}).") from error
    for line, row in rows:
        if not (row["path"] or "").strip() or not (row["label"] or "").strip():
            raise DataError(f"{path}, line {line}: path and label must both be given.")
    splits = None
    if "split" in columns:
        splits = []
        for line, row in rows:
            name = (row["split"] or "").strip().lower()
            if name not in SPLIT_NAMES:
                raise DataError(f"{path}, line {line}: split is {name!r}; expected one of {', '.join(SPLITS)}.")
            splits.append(SPLIT_NAMES[name])
    files = tuple(path.parent / row["path"].strip() for _, row in rows)
    missing = [(line, file) for (line, _), file in zip(rows, files, strict=True) if not _is_file(file)]
    if missing:
        listed = "\n".join(f"  line {line}: {file}" for line, file in missing[:10])
        more = f"\n  and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{path} names {len(missing)} file(s) that do not exist (paths are relative to the .csv):\n{listed}{more}"
        )
    return _labeled(str(path), FileItems(files), [row["label"].strip() for _, row in rows], splits)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def natural_order(name: str) -> tuple[int, int, str]:
    """Numbers in order of their value, before all other names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() else (1, 0, name)


def _labeled(
    source: str, items: FileItems | ZipItems | ArrayItems, names: Sequence[str], splits: Sequence[str] | None
) -> ImageSet:
    if len(items) == 0:
        raise DataError(f"{source} holds no images. {EXPECTED}")
    names = [printable(name) for name in names]
    classes = tuple(sorted(set(names), key=natural_order))
    index = {name: position for position, name in enumerate(classes)}
    labels = np.array([index[name] for name in names], dtype=np.int64)
    return ImageSet(source, items, labels, classes, np.array(splits) if splits is not None else None)
