"""Say on a terminal what takes longer than a moment and has no steps to count; imports nothing heavy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def waiting(what: str, quiet: bool = False) -> Iterator[None]:
    """Show ``what`` and dots on standard error while the block runs, if that is a terminal."""
    shown = not quiet and sys.stderr.isatty()
    if shown:
        sys.stderr.write(f"{what} …")
        sys.stderr.flush()
    try:
        yield
    finally:
        if shown:
            # Back to the start of the line, and clear it.
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
