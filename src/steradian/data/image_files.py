"""Find and decode image files in batches; a damaged file does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steradian.data.decode import SUFFIXES, Pixels, decode
from steradian.errors import DataError, UsageError

AT_ONCE = 64


@dataclass(frozen=True)
class Readable:
    """A batch of files: those that could be decoded, with their pixels, and (file, reason) for the others."""

    files: tuple[Path, ...]
    pixels: tuple[Pixels, ...]
    failures: tuple[tuple[Path, str], ...]


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the given files, and the images in the given folders. Raises `UsageError` for a missing path."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: check the spelling.")
        files += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    return files


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
