"""Open any kind of image source with `open`: a built-in name, a folder, a zip, shards, a table, or an address."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from steradian.data import catalog
from steradian.data.arrays import open_npz
from steradian.data.columns import open_parquet
from steradian.data.file_kinds import PassedOver, files_below, forward, is_hidden, members_of
from steradian.data.images import EXPECTED, SPLIT_NAMES, FileItems, ImageSet, ZipItems, labeled
from steradian.data.remote import answering, is_remote, located
from steradian.data.shards import open_shards
from steradian.data.tables import open_csv
from steradian.data.text_column import text_column
from steradian.errors import DataError, InputError, UsageError, did_you_mean
from steradian.files import check_regular, explained, printable


def open(  # noqa: A001 - reads as data.open
    source: str | Path, root: str | Path | None = None, *, skip_missing: bool = False
) -> ImageSet:
    """Open labeled images. Nothing is decoded yet.

    Args:
        source: a built-in name (`catalog.NAMES`), a folder with one folder per class, a zip of such a
            folder, an ``.npz`` (`arrays.open_npz`), a ``.csv`` with columns ``path,label[,split][,group]``, paths
            relative to the file, or an index of Google Landmarks v2 (`tables.open_csv`), a ``.parquet`` or a folder of
            them (`columns.open_parquet`), a ``.tar`` or a folder of them (`shards.open_shards`). All but an ``.npz``
            may also be an address that fsspec can open, such as ``s3://bucket/photos.csv``.
        root: folder of the files of built-in sets (default: ``STERADIAN_DATA``, else a cache folder).
        skip_missing: leave out rows of a table that name files that do not exist, with a note; otherwise they are an
            error.

    Raises:
        UsageError: neither a built-in name nor an existing path, or nothing here speaks to an address.
        DataError: the source has no usable images, or invalid labels.
    """
    source = source_name(source)
    place = located(source)
    check_source(source)
    if str(source) in catalog.NAMES and not place.is_dir():
        loaded = catalog.load(str(source), Path(root) if root is not None else None)
        # A built-in set is known by its name, wherever its file is.
        return replace(_open_path(loaded), source=str(source)) if isinstance(loaded, Path) else loaded
    return _open_path(place, skip_missing)


def source_name(source: object) -> str:
    """Return where labeled images come from, as a recipe records it.

    Raises:
        InputError: arrays or lists, which could not be found again to go on with a run.
    """
    if isinstance(source, ImageSet):
        return source.source
    if isinstance(source, str | Path):
        return str(source)
    raise InputError(
        f"expected labeled images as a built-in name, a folder or a file, but got a {type(source).__name__}. Arrays go "
        "through a file: np.savez('images.npz', x=pixels, y=labels), with x uint8 [N, H, W] or [N, H, W, 3]."
    )


def check_source(source: str | Path) -> None:
    """Raise `UsageError` unless ``source`` is a built-in name, an existing path or an address. Opens nothing."""
    path = located(source)
    if is_remote(path):
        return
    if printable(path) != str(path):
        raise UsageError(f"The name {printable(path)} is not UTF-8, so results could not record it. Rename it.")
    if str(source) in catalog.NAMES or path.exists():
        return
    beside = [entry for entry in path.parent.iterdir() if entry.name[0] != "."] if path.parent.is_dir() else []
    close = difflib.get_close_matches(str(path), [*catalog.NAMES, *map(str, beside)], n=1, cutoff=0.6)
    if close:
        raise UsageError(f"{str(source)!r} does not exist. Did you mean {close[0]!r}?")
    raise UsageError(
        f"{str(source)!r} is no built-in data set and no existing path. {did_you_mean(str(source), catalog.NAMES)} "
        f"{EXPECTED}"
    )


def _open_path(path: Path, skip_missing: bool = False) -> ImageSet:
    suffix = path.suffix.lower()
    if not is_remote(path):
        check_regular(path)
    if suffix == ".npz" and is_remote(path):
        raise UsageError(f"{path}: an .npz is read whole. Copy it here, or name a folder, table, zip or tar instead.")
    tables = {".csv": open_csv, ".parquet": open_parquet}
    readers = {".zip": _open_zip, ".npz": open_npz, ".tar": open_shards}
    with answering(path):
        if suffix in tables:
            return tables[suffix](path, skip_missing)
        if suffix in readers:
            return readers[suffix](path)
        if not path.is_dir():
            raise UsageError(f"{path} has a format that is not supported. {EXPECTED}")
        return _folder_reader(path)(path)


def _folder_reader(folder: Path) -> Callable[[Path], ImageSet]:
    """Return the reader for ``folder``: for shards or parquet files if it has any, else for images."""
    names = [path.name for pattern in ("*", "data/*") for path in folder.glob(pattern)]
    for suffix, reader in ((".tar", open_shards), (".parquet", open_parquet)):
        if any(name.lower().endswith(suffix) and not is_hidden(name) for name in names):
            return reader
    return _open_folder


def _open_folder(folder: Path) -> ImageSet:
    passed = PassedOver()
    with explained("read the folder", folder):
        found = _remote_files(folder, passed) if is_remote(folder) else files_below(folder, passed)
    found.sort(key=lambda one: one[0].split("/"))
    names = [name for name, _ in found]
    notes = passed.notes(str(folder), names)
    labels, splits = _by_folder([PurePosixPath(name) for name in names], str(folder), notes)
    sizes = None if is_remote(folder) else np.array([size for _, size in found], dtype=np.int64)
    return labeled(str(folder), FileItems(folder, text_column(names), sizes), labels, splits, notes=notes)


def _remote_files(folder: Path, passed: PassedOver) -> list[tuple[str, int]]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    # To ask whether each is a folder would take a request each.
    folders = {str(PurePosixPath(name).parent) for name in names}
    return [(name, -1) for name in names if name not in folders and passed.takes(name)]


def _open_zip(path: Path) -> ImageSet:
    passed = PassedOver()
    with explained("read", path):
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                members = members_of(archive, passed)
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is not a readable zip ({error}). Copy or download it again.") from error
    members.sort(key=lambda info: info.filename)
    names = [info.filename for info in members]
    notes = passed.notes(str(path), map(forward, names))
    labels, splits = _by_folder([PurePosixPath(forward(name)) for name in names], str(path), notes)
    stored = np.array([info.CRC for info in members], dtype=np.int64)
    return labeled(str(path), ZipItems(path, text_column(names), stored), labels, splits, notes=notes)


def _by_folder(paths: Sequence[PurePosixPath], source: str, notes: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return class names, and splits if there are any, from relative paths such as [split/]class/.../file."""
    if not paths:
        raise DataError(" ".join([f"{source} holds no images.", *notes, EXPECTED]))
    parts = [path.parts for path in paths]
    while len({names[0] for names in parts}) == 1 and min(len(names) for names in parts) > 2:
        parts = [names[1:] for names in parts]
    loose = next((path for path, names in zip(paths, parts, strict=True) if len(names) < 2), None)
    if loose is not None:
        above = Path(source).parent
        hint = (
            f" If {Path(source).name} is one of several classes, give the folder above: {above}." if above.name else ""
        )
        raise DataError(f"{source}: {loose} is not inside a class folder.{hint} {EXPECTED}")
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
