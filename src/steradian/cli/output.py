"""Print results and messages of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from steradian.errors import DataError
from steradian.files import finite


def print_json(content: Any) -> None:
    """Print one JSON document on standard output; NaN becomes null."""
    print(json.dumps(finite(content), indent=2, ensure_ascii=False, default=str))


def say(text: str) -> None:
    """Print a status line on standard error, so that standard output holds only results."""
    print(text, file=sys.stderr, flush=True)


def _printable(cell: str, longest: int) -> str:
    text = "".join(character if character.isprintable() else "�" for character in str(cell))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None, longest: int = 60) -> str:
    """Format rows as aligned columns of text; replace unprintable characters and shorten cells of over ``longest``."""
    table = [[_printable(cell, longest) for cell in row] for row in ([header, *rows] if header is not None else rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = (map(str.ljust, row, widths) for row in table)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def bullets(lines: Sequence[str], mark: str) -> None:
    """Print each line, after ``mark``, on standard error."""
    for line in lines:
        say(f"{mark} {line}")


def fail_for(failures: Sequence[tuple[str, str]], images: int, done: str) -> None:
    """Print one line per image that could not be ``done`` and raise `DataError`; do nothing where none failed."""
    for name, why in failures:
        say(f"Error: {name}: {why}")
    if failures:
        raise DataError(f"{len(failures)} of {images} images could not be {done}.")


def fail_if(failures: Mapping[str, str]) -> None:
    """Print one line per failed job and exit with code 1; do nothing where none failed."""
    for name, why in failures.items():
        say(f"Error: {name} failed: {why}")
    if failures:
        raise typer.Exit(1)
