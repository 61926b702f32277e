"""Read a .csv strictly: encoding and separator where they are certain, and every row as long as its header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from steradian.errors import DataError
from steradian.files import check_regular, explained

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, by which a file says its encoding."""

SHOWN = 30
"""Bytes around one that cannot be decoded, for the message."""

DECLARED = re.compile(r"sep=(.)\s*")
"""First line by which spreadsheets name the separator."""


@dataclass(frozen=True)
class Csv:
    """An opened table.

    Attributes:
        header: its column names, all different.
        separator: what stands between two cells.
        rows: (number of its line, cells without surrounding spaces) of each row that is not empty.
    """

    header: tuple[str, ...]
    separator: str
    rows: Iterator[tuple[int, list[str]]]


@contextmanager
def opened_csv(path: Path, expected: Sequence[str]) -> Iterator[Csv]:
    """Open a table whose header has some of the columns ``expected``.

    UTF-8, or another encoding of Unicode with a byte order mark; commas, semicolons, tabs or bars, whichever separates
    the names of the header.

    Raises:
        DataError: another encoding; a column twice; a row that is longer or shorter than the header.
    """
    check_regular(path)
    with explained("read", path), path.open("rb") as binary:
        encoding = _encoding(binary)
        text = io.TextIOWrapper(binary, encoding=encoding, newline="")
        try:
            yield _opened(path, text, expected)
        except UnicodeDecodeError as error:
            raise DataError(_undecodable(path, encoding)) from error


def _encoding(binary: IO[bytes]) -> str:
    start = binary.read(4)
    binary.seek(0)
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), "utf-8")


def _opened(path: Path, text: IO[str], expected: Sequence[str]) -> Csv:
    first, before = text.readline(), 0
    while first and not first.strip():
        first, before = text.readline(), before + 1
    if "\0" in first:
        raise DataError(f"{path} is not UTF-8, but perhaps UTF-16 without a byte order mark. Save it as UTF-8.")
    declared = DECLARED.fullmatch(first)
    if declared is not None:
        first, before = text.readline(), before + 1
    separator = declared[1] if declared is not None else _separator(first, expected)
    # Strictly: a quote in the wrong place is an error, and does not take the next rows into its cell.
    reader = csv.reader(_again(first, text), delimiter=separator, strict=True, skipinitialspace=True)
    rows = _parsed(path, reader, before)
    header = tuple(name.strip() for name in next(rows, (0, []))[1])
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{path} has the column {repeated!r} twice; column names must be unique.")
    return Csv(header, separator, _rows(path, rows, header, separator, expected))


def _again(first: str, text: IO[str]) -> Iterator[str]:
    yield first
    yield from text


def _separator(header: str, expected: Sequence[str]) -> str:
    """Return the separator that splits ``header`` into most of the names ``expected``; a comma if none does."""

    def known(separator: str) -> tuple[int, bool]:
        cells = next(csv.reader([header], delimiter=separator), [])
        return sum(cell.strip() in expected for cell in cells) if len(cells) > 1 else 0, separator == ","

    return max(SEPARATORS, key=known)


def _parsed(path: Path, reader: Any, before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its cells."""
    while True:
        line = reader.line_num + 1 + before
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line}: {error}. A cell in quotes begins and ends with one, and quotes inside are "
                "written twice."
            ) from error
        yield line, cells


def _rows(
    path: Path, rows: Iterator[tuple[int, list[str]]], header: Sequence[str], separator: str, expected: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    names, width, read = list(header), len(header), [number for number, name in enumerate(header) if name in expected]
    what = SEPARATORS.get(separator, f"the separator {separator!r}")
    for line, cells in rows:
        if not cells:
            continue
        if len(cells) != width:
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells, but the header has {width}. Cells are separated by {what}; "
                "put a name that contains the separator in quotes."
            )
        if any(_holds_rows(cell, separator, width, number in read) for number, cell in enumerate(cells)):
            raise DataError(
                f"{path}, line {line}: a cell goes on in the next line. Is a quote missing at its end? Quotes that "
                "belong to a name are written twice, in a cell in quotes."
            )
        stripped = [cell.strip() for cell in cells]
        if stripped == names:
            raise DataError(f"{path}, line {line} repeats the header. Remove it; are these two tables in one file?")
        yield line, stripped


def _holds_rows(cell: str, separator: str, width: int, is_read: bool) -> bool:
    """Return whether a cell has line breaks that a table of names cannot have, or holds whole rows of the table."""
    if "\n" not in cell and "\r" not in cell:
        return False
    return is_read or any(line.count(separator) == width - 1 for line in cell.splitlines()[1:-1])


def _undecodable(path: Path, encoding: str) -> str:
    """Return a sentence about the first bytes that are not of ``encoding``."""
    if encoding not in ("utf-8", "utf-8-sig"):
        return f"{path} begins as {encoding.upper()}, but is damaged. Save it as UTF-8."
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                begin = max(0, error.start - SHOWN)
                guess = line[begin : error.end + SHOWN].decode("cp1252", errors="replace").strip()
                return (
                    f"{path}, line {number} is not UTF-8: byte {line[error.start]:#04x}. If it should read {guess!r}, "
                    "the encoding is Windows-1252. Save the file as UTF-8."
                )
    return f"{path} is not UTF-8. Save it as UTF-8."
