"""Print results and messages of the command line."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steradian.files import finite


def command_line() -> str:
    """Return the command line that the user typed, to store with the results."""
    return shlex.join(["steradian", *sys.argv[1:]])


def default_folder(source: str, prefix: str = "") -> Path:
    """Return ``runs/NAME`` for a data source."""
    return Path("runs") / f"{prefix}{Path(source).resolve().stem}"


def print_json(content: Any) -> None:
    """Print one JSON document on standard output; NaN becomes null."""
    print(json.dumps(finite(content), indent=2, ensure_ascii=False, default=str))


def say(text: str) -> None:
    """Print a status line on standard error, so that standard output holds only results."""
    print(text, file=sys.stderr, flush=True)


def _printable(cell: str) -> str:
    text = "".join(character if character.isprintable() else "�" for character in str(cell))
    return text if len(text) <= 60 else text[:59] + "…"


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Format rows as aligned columns of text; replace unprintable characters and shorten long cells."""
    table = [[_printable(cell) for cell in row] for row in ([header, *rows] if header is not None else rows)]
    widths = [max(len(str(row[column])) for row in table) for column in range(len(table[0]))] if table else []
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]
    return "\n".join(lines)


def bullets(lines: Sequence[str], mark: str) -> None:
    """Print each line, after ``mark``, on standard error."""
    for line in lines:
        say(f"{mark} {line}")
