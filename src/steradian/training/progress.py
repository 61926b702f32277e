"""Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from tqdm import tqdm

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress

QUIET_SECONDS = 2.0
"""Nothing is shown for work that takes less time."""
LINE_SECONDS = 15.0
"""Time between plain lines."""


class Progress:
    """Counts up to ``total``; silent when ``quiet`` or when done within `QUIET_SECONDS`."""

    def __init__(self, total: int, what: str, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._total, self._what, self._quiet = total, what, quiet
        self._done = 0
        self._note = ""
        self._started = self._last = time.monotonic()
        self._bar: tqdm[Any] | None = None
        if not quiet and self._stream.isatty():
            self._bar = tqdm(
                total=total, desc=what, file=self._stream, leave=False, delay=QUIET_SECONDS, dynamic_ncols=True
            )

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count ``count`` more; ``note`` replaces the text beside the count."""
        self._done += count
        self._note = note if note is not None else self._note
        if self._bar is not None:
            if note is not None:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif not self._quiet and time.monotonic() - self._last >= LINE_SECONDS:
            self._line()

    def at(self, done: int, total: int, note: str) -> None:
        """Set the count to ``done`` of ``total``; after a resume, the first call may be far in."""
        if self._total == 0:
            # Time before the first step does not count for the time left.
            self._started = time.monotonic()
        self._total = total
        if self._bar is not None and self._bar.total != total:
            self._bar.reset(total=total)
        self.advance(done - self._done, note)

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text, file=self._stream)

    def _line(self) -> None:
        self._last = time.monotonic()
        elapsed = self._last - self._started
        left = f", {elapsed * (self._total - self._done) / self._done:.0f} s left" if self._done else ""
        note = f", {self._note}" if self._note else ""
        self._stream.write(f"{self._what}: step {self._done}/{self._total}{left}{note}\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def progress_unless(quiet: bool) -> DataProgress:
    """Return `shown`, or what shows nothing."""
    return no_progress if quiet else shown


def step_counter(on_step: Callable[[int], None]) -> Callable[[int, int, str], None]:
    """Return an ``on_batch`` for `train` that tells ``on_step`` how many steps were done since the last call."""
    done = 0

    def on_batch(step: int, total: int, note: str) -> None:
        nonlocal done
        on_step(step - done)
        done = step

    return on_batch


def shown(items: Iterable[int], total: int, what: str) -> Iterator[int]:
    """Iterate with a `Progress`; fits the ``progress`` argument of `steradian.data`."""
    with Progress(total, what) as progress:
        for item in items:
            yield item
            progress.advance()
