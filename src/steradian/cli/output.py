"""What the command prints, and how it ends."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steradian.files import finite


def command_line() -> str:
    """What the user typed, for the record."""
    return shlex.join(["steradian", *sys.argv[1:]])


def default_folder(source: str, prefix: str = "") -> Path:
    """``runs/NAME`` for a data source."""
    return Path("runs") / f"{prefix}{Path(source).resolve().stem}"


def print_json(content: Any) -> None:
    """One JSON document on standard output; NaN is null."""
    print(json.dumps(finite(content), indent=2, ensure_ascii=False, default=str))


def say(text: str) -> None:
    """A line about what is going on, on standard error, so that standard output is the answer alone."""
    print(text, file=sys.stderr, flush=True)


def _shown(cell: str) -> str:
    text = "".join(character if character.isprintable() else "�" for character in str(cell))
    return text if len(text) <= 60 else text[:59] + "…"


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Rows as aligned columns of text; what cannot be printed, or is too long, is replaced."""
    everything = [[_shown(cell) for cell in row] for row in ([header, *rows] if header is not None else rows)]
    widths = (
        [max(len(str(row[place])) for row in everything) for place in range(len(everything[0]))] if everything else []
    )
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]
    return "\n".join(lines)


def bullets(lines: Sequence[str], mark: str) -> None:
    """Lines about warnings, on standard error."""
    for line in lines:
        say(f"{mark} {line}")
