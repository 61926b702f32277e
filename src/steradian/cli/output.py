"""Print results and messages of the command line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

from steradian.errors import DataError
from steradian.files import finite

if TYPE_CHECKING:
    from steradian.studies.evaluation.verdict import Verdict

MOST_WARNINGS = 5
"""Number of warnings printed; --json has all."""


def print_json(content: Any) -> None:
    """Print one JSON document on standard output; NaN becomes null."""
    print(json.dumps(finite(content), indent=2, ensure_ascii=False, default=str))


def say(text: str) -> None:
    """Print a status line on standard error, so that standard output holds only results."""
    print(text, file=sys.stderr, flush=True)


def has_colors(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal with colors, and the user has not set NO_COLOR (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    """Return ``text`` in bold for standard output, unchanged where that has no colors."""
    return f"\033[1m{text}\033[0m" if has_colors(sys.stdout) else text


def wrapped(text: str, indent: str = "", stream: TextIO | None = None) -> str:
    """Break ``text`` at the width of a terminal, with further lines after ``indent``; leave it in a pipe or a file."""
    if not (stream if stream is not None else sys.stdout).isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def print_verdict(verdict: Verdict) -> None:
    """Print the sentence, the percentages with their intervals below, and the advice."""
    print(bold(wrapped(verdict.sentence)))
    indent = " " * 9
    for label, share, interval in (headline.row() for headline in verdict.headlines):
        print(f"{bold(f'{share:>7}')}  {wrapped(indent + label, indent).removeprefix(indent)}")
        print(wrapped(indent + interval, indent))
    if verdict.advice:
        print(wrapped(verdict.advice))


def print_next(*commands: str) -> None:
    """Print commands that a user may want to type next."""
    for number, command in enumerate(commands):
        print(f"{'next' if number == 0 else '    '}    {command}")


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
    """Print the lines, at most `MOST_WARNINGS`, each after ``mark``, on standard error."""
    for line in lines[:MOST_WARNINGS]:
        say(wrapped(f"{mark} {line}", "  ", sys.stderr))
    if len(lines) > MOST_WARNINGS:
        say(f"{mark} … and {len(lines) - MOST_WARNINGS} more (--json lists all)")


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
