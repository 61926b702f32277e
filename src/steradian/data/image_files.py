"""Find and decode image files in batches; a damaged file does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steradian.data.decode import decode
from steradian.data.file_kinds import PassedOver, files_below
from steradian.data.model_input import Pixels
from steradian.errors import DataError, UsageError
from steradian.files import check_regular, explained

AT_ONCE = 64


@dataclass(frozen=True)
class Readable:
    """A batch of files: those that could be decoded, with their pixels, and (file, reason) for the others."""

    files: tuple[Path, ...]
    pixels: tuple[Pixels, ...]
    failures: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class ImageFiles:
    """Image files, and a sentence for each folder in which files were passed over."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def image_files(paths: Sequence[Path]) -> ImageFiles:
    """Return the given files, and the images in the given folders.

    Raises:
        UsageError: a path is missing, or none of them holds an image.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: check the spelling.")
        if not path.is_dir():
            check_regular(path)
            files.append(path)
            continue
        passed = PassedOver()
        with explained("read the folder", path):
            names = sorted(name for name, _ in files_below(path, passed))
        files += [path / name for name in names]
        notes += passed.notes(str(path), names)
    if not files:
        raise UsageError(" ".join(["Found no images. Pass image files, or folders that contain images.", *notes]))
    return ImageFiles(tuple(files), tuple(notes))


def read_images(files: Sequence[Path], shortest: int) -> Readable:
    """Decode ``files`` and list those that cannot be decoded (see `decode` for ``shortest``)."""
    readable, pixels, failures = [], [], []
    for file in files:
        try:
            pixels.append(decode(file, shortest))
            readable.append(file)
        except DataError as error:
            failures.append((file, str(error)))
    return Readable(tuple(readable), tuple(pixels), tuple(failures))


def in_parts(files: Sequence[Path], shortest: int) -> Iterator[Readable]:
    """Decode ``files`` in batches of `AT_ONCE`, so that only one batch is in memory."""
    for start in range(0, len(files), AT_ONCE):
        yield read_images(files[start : start + AT_ONCE], shortest)
