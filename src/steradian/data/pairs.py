"""Read pairs of named images for verification, in the format of LFW's ``pairs.txt``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from steradian.errors import DataError, did_you_mean
from steradian.files import explained, printable

EXPECTED = (
    "Expected the LFW format: a first line with the number of folds and of pairs of each kind per fold (10 300; a "
    "single number means one fold), then NAME I J for images I and J of one identity, NAME1 I NAME2 J for two."
)
LISTED = 10


@dataclass(frozen=True)
class NamedPairs:
    """Pairs of images by identity and number.

    Attributes:
        first, second: [N] of (identity, number from 1).
        same: bool [N].
        folds: int [N].
        lines: int [N], line numbers in the file.
    """

    first: tuple[tuple[str, int], ...]
    second: tuple[tuple[str, int], ...]
    same: NDArray[np.bool_]
    folds: NDArray[np.intp]
    lines: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.first)


def read_pairs(path: Path) -> NamedPairs:
    """Read a ``pairs.txt``. Tabs separate the columns, or spaces if the names have none."""
    with explained("read", path):
        text = path.read_bytes()
    try:
        rows = [(number, line.strip()) for number, line in enumerate(text.decode("utf-8-sig").splitlines(), start=1)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error}). {EXPECTED}") from error
    rows = [(number, line) for number, line in rows if line]
    folds, each = _header(path, rows[0][1] if rows else "")
    pairs = [(number, _pair(path, number, line)) for number, line in rows[1:]]
    if len(pairs) != 2 * folds * each:
        raise DataError(
            f"{path} says {folds} fold(s) of {each} + {each} pairs, {2 * folds * each} in all, but holds {len(pairs)}."
        )
    return NamedPairs(
        tuple(pair[0] for _, pair in pairs),
        tuple(pair[1] for _, pair in pairs),
        np.array([pair[0][0] == pair[1][0] for _, pair in pairs], dtype=bool),
        np.repeat(np.arange(folds), 2 * each),
        np.array([number for number, _ in pairs], dtype=np.intp),
    )


def _header(path: Path, line: str) -> tuple[int, int]:
    items = line.split()
    if not 1 <= len(items) <= 2 or not all(item.isascii() and item.isdecimal() and int(item) > 0 for item in items):
        raise DataError(f"{path}, line 1: {line[:60]!r} is not a header. {EXPECTED}")
    numbers = [int(item) for item in items]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _pair(path: Path, number: int, line: str) -> tuple[tuple[str, int], tuple[str, int]]:
    fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
    if len(fields) == 3:
        fields = [fields[0], fields[1], fields[0], fields[2]]
    if len(fields) != 4 or not all(field.isascii() and field.isdecimal() for field in (fields[1], fields[3])):
        raise DataError(f"{path}, line {number}: {line[:60]!r} is not a pair. {EXPECTED}")
    if fields[0] == fields[2] and fields[1] == fields[3]:
        raise DataError(f"{path}, line {number}: {fields[0]} {fields[1]} is paired with itself.")
    return (fields[0], int(fields[1])), (fields[2], int(fields[3]))


def image_numbers(names: Sequence[str], identities: Sequence[str]) -> dict[tuple[str, int], int]:
    """Map (identity, number) to the index of each of N images in files such as ``Ana/Ana_0003.jpg``.

    The number is at the end of the file name; images whose names do not end in a number are left out.
    """
    indices: dict[tuple[str, int], int] = {}
    for index, (name, identity) in enumerate(zip(names, identities, strict=True)):
        ending = re.search(r"(\d+)$", PurePath(name.replace("\\", "/")).stem)
        if ending is not None:
            indices.setdefault((identity, int(ending.group(1))), index)
    return indices


@dataclass(frozen=True)
class PlacedPairs:
    """Pairs of images by index: ``first`` and ``second`` int [N], ``same`` bool [N], ``folds`` int [N].

    ``missing``: messages about pairs that were left out.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    same: NDArray[np.bool_]
    folds: NDArray[np.intp]
    missing: tuple[str, ...]


def place_pairs(
    pairs: NamedPairs, indices: Mapping[tuple[str, int], int], path: Path, *, skip_missing: bool = False
) -> PlacedPairs:
    """Find the index of each image of ``pairs``. Raises `DataError` if images are missing and not skipped."""
    absent = [
        (int(line), image)
        for line, *images in zip(pairs.lines, pairs.first, pairs.second, strict=True)
        for image in images
        if image not in indices
    ]
    lines = {line for line, _ in absent}
    complete = np.array([line not in lines for line in pairs.lines.tolist()], dtype=bool)
    listed = "\n".join(f"  line {line}: {printable(name)} {number}" for line, (name, number) in absent[:LISTED])
    more = f"\n  and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
    if absent and (not skip_missing or not complete.any()):
        first = absent[0][1][0]
        close = did_you_mean(first, sorted({name for name, _ in indices}))
        raise DataError(
            f"{path}: {len(lines)} of {len(pairs)} pairs name images that do not exist:\n{listed}{more}\n"
            f"{close if close.startswith('Did') else ''} Expected image files named IDENTITY/…NUMBER.jpg. "
            "Pass --skip-missing to leave such pairs out."
        )
    missing = (f"{len(lines)} of {len(pairs)} pairs name images that do not exist and were skipped.",) if absent else ()
    image_pairs = [pair for pair in zip(pairs.first, pairs.second, strict=True) if set(pair) <= indices.keys()]
    index_pairs = np.array([(indices[a], indices[b]) for a, b in image_pairs], dtype=np.intp).reshape(-1, 2)
    return PlacedPairs(index_pairs[:, 0], index_pairs[:, 1], pairs.same[complete], pairs.folds[complete], missing)
