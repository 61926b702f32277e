"""Print results and messages of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

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
    widths = [max(len(str(row[column])) for row in table) for column in range(len(table[0]))] if table else []
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]
    return "\n".join(lines)


def bullets(lines: Sequence[str], mark: str) -> None:
    """Print each line, after ``mark``, on standard error."""
    for line in lines:
        say(f"{mark} {line}")


def default_folder(source: str, prefix: str = "") -> Path:
    """Return ``runs/NAME`` for a data source."""
    from steradian.studies.study_folder import default_folder as folder_for

    return folder_for(source, prefix)


def fail_if(failures: Mapping[str, str]) -> None:
    """Print one line per failed job and exit with code 1; do nothing where none failed."""
    for name, why in failures.items():
        say(f"Error: {name} failed: {why}")
    if failures:
        raise typer.Exit(1)
