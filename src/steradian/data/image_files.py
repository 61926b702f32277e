"""Image files by name, a few at a time: a damaged one costs its own answer, not the others'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steradian.data.decode import SUFFIXES, Pixels, decode
from steradian.errors import DataError, UsageError

AT_ONCE = 64


@dataclass(frozen=True)
class Readable:
    """A few files: those that could be decoded with their pixels, and (file, reason) of the others."""

    files: tuple[Path, ...]
    pixels: tuple[Pixels, ...]
    failures: tuple[tuple[Path, str], ...]


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the images in them.

    Raises:
        UsageError: a path that does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: check the spelling.")
        found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    return found


def read_images(files: Sequence[Path], shortest: int) -> Readable:
    """Decode ``files``, setting aside those that cannot be (see `decode` for ``shortest``)."""
    readable, pixels, failures = [], [], []
    for file in files:
        try:
            pixels.append(decode(file, shortest))
            readable.append(file)
        except DataError as error:
            failures.append((file, str(error)))
    return Readable(tuple(readable), tuple(pixels), tuple(failures))


def in_parts(files: Sequence[Path], shortest: int) -> Iterator[Readable]:
    """`read_images` of `AT_ONCE` files after another, so that no more are in memory."""
    for start in range(0, len(files), AT_ONCE):
        yield read_images(files[start : start + AT_ONCE], shortest)
