"""Read pairs of named images to verify, in the format of LFW's ``pairs.txt``."""

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
    "Expected the format of LFW: a first line with the number of folds and of pairs of each kind in a fold (10 300; "
    "one number means one fold), then NAME I J for images I and J of one identity and NAME1 I NAME2 J for two."
)
LISTED = 10


@dataclass(frozen=True)
class NamedPairs:
    """Pairs of images by identity and number.

    Attributes:
        first, second: [N] of (identity, number from 1).
        same: bool [N].
        folds: int [N].
        lines: int [N], where each stands in the file.
    """

    first: tuple[tuple[str, int], ...]
    second: tuple[tuple[str, int], ...]
    same: NDArray[np.bool_]
    folds: NDArray[np.intp]
    lines: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.first)


def read_pairs(path: Path) -> NamedPairs:
    """Read a ``pairs.txt`` with columns separated by tabs or, if names have no spaces, by spaces.

    Raises:
        DataError: a line of another shape, or another number of pairs than the first line says.
    """
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
    words = line.split()
    if not 1 <= len(words) <= 2 or not all(word.isascii() and word.isdecimal() and int(word) > 0 for word in words):
        raise DataError(f"{path}, line 1: {line[:60]!r} is not a header. {EXPECTED}")
    numbers = [int(word) for word in words]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _pair(path: Path, number: int, line: str) -> tuple[tuple[str, int], tuple[str, int]]:
    words = [word.strip() for word in (line.split("\t") if "\t" in line else line.split())]
    if len(words) == 3:
        words = [words[0], words[1], words[0], words[2]]
    if len(words) != 4 or not all(word.isascii() and word.isdecimal() for word in (words[1], words[3])):
        raise DataError(f"{path}, line {number}: {line[:60]!r} is not a pair. {EXPECTED}")
    if words[0] == words[2] and words[1] == words[3]:
        raise DataError(f"{path}, line {number}: {words[0]} {words[1]} is paired with itself.")
    return (words[0], int(words[1])), (words[2], int(words[3]))


def image_numbers(names: Sequence[str], identities: Sequence[str]) -> dict[tuple[str, int], int]:
    """Map (identity, number) to the index of the image, for files such as ``Ana/Ana_0003.jpg``.

    The number is that at the end of the file's name; images whose names end in none are left out.
    """
    found: dict[tuple[str, int], int] = {}
    for place, (name, identity) in enumerate(zip(names, identities, strict=True)):
        ending = re.search(r"(\d+)$", PurePath(name.replace("\\", "/")).stem)
        if ending is not None:
            found.setdefault((identity, int(ending.group(1))), place)
    return found


@dataclass(frozen=True)
class PlacedPairs:
    """Pairs of images by index: ``first`` and ``second`` int [N], ``same`` bool [N], ``folds`` int [N].

    ``missing``: sentences about pairs that were left out.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    same: NDArray[np.bool_]
    folds: NDArray[np.intp]
    missing: tuple[str, ...]


def place_pairs(
    pairs: NamedPairs, places: Mapping[tuple[str, int], int], path: Path, *, skip_missing: bool = False
) -> PlacedPairs:
    """Look up the images of ``pairs``.

    Raises:
        DataError: images that are missing, unless they may be skipped; no pair is left.
    """
    lost = [
        (int(line), image)
        for line, *two in zip(pairs.lines, pairs.first, pairs.second, strict=True)
        for image in two
        if image not in places
    ]
    lines = {line for line, _ in lost}
    kept = np.array([line not in lines for line in pairs.lines.tolist()], dtype=bool)
    listed = "\n".join(f"  line {line}: {printable(name)} {number}" for line, (name, number) in lost[:LISTED])
    more = f"\n  and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
    if lost and (not skip_missing or not kept.any()):
        first = lost[0][1][0]
        close = did_you_mean(first, sorted({name for name, _ in places}))
        raise DataError(
            f"{path}: {len(lines)} of {len(pairs)} pairs name images that do not exist:\n{listed}{more}\n"
            f"{close if close.startswith('Did') else ''} Images are found as IDENTITY/…NUMBER.jpg. "
            "Pass --skip-missing to leave such pairs out."
        )
    missing = (f"{len(lines)} of {len(pairs)} pairs name images that do not exist and were left out.",) if lost else ()
    where = [(places[a], places[b]) for a, b in zip(pairs.first, pairs.second, strict=True) if {a, b} <= places.keys()]
    two = np.array(where, dtype=np.intp).reshape(-1, 2)
    return PlacedPairs(two[:, 0], two[:, 1], pairs.same[kept], pairs.folds[kept], missing)
