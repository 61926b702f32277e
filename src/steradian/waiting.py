"""Say on a terminal what takes longer than a moment and has no steps to count; imports nothing heavy."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

LONGEST = " … 99999 s"


@contextlib.contextmanager
def waiting(what: str, quiet: bool = False) -> Iterator[None]:
    """Show ``what`` and the seconds since its start on standard error while the block runs, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_count, args=(what, ended), daemon=True)
    _write(f"{what} …")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        # Spaces, because not every terminal knows a code that clears a line.
        _write(f"\r{' ' * (len(what) + len(LONGEST))}\r")


def _count(what: str, ended: threading.Event) -> None:
    begun = time.monotonic()
    while not ended.wait(1.0):
        _write(f"\r{what} … {time.monotonic() - begun:.0f} s")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
