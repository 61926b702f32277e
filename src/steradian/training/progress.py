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
"""Time between plain lines; the first comes after `QUIET_SECONDS`."""


class Progress:
    """Counts up to ``total``; silent when ``quiet`` or when done within `QUIET_SECONDS`."""

    def __init__(self, total: int, what: str, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._total, self._what, self._quiet = total, what, quiet
        self._done = 0
        self._note = ""
        self._next_line = time.monotonic() + QUIET_SECONDS
        # The first steps also start processes, compile and fill caches: the time left is computed from what follows.
        self._begin: tuple[float, int] | None = None
        self._bar: tqdm[Any] | None = None
        self._open()

    def _open(self) -> None:
        """Make the bar on a terminal; one without a total would show nothing but its name."""
        if self._bar is None and self._total and not self._quiet and self._stream.isatty():
            self._bar = tqdm(
                total=self._total,
                desc=self._what,
                file=self._stream,
                leave=False,
                delay=QUIET_SECONDS,
                dynamic_ncols=True,
            )

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count ``count`` more; ``note`` replaces the text beside the count."""
        self._done += count
        self._note = note if note is not None else self._note
        if count and self._begin is None:
            self._begin = time.monotonic(), self._done
            if self._bar is not None:
                self._bar.unpause()
        if self._bar is not None:
            if note is not None:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif not self._quiet and time.monotonic() >= self._next_line:
            self._line()

    def at(self, done: int, total: int, note: str) -> None:
        """Set the count to ``done`` of ``total``; after a resume, the first call may be far in."""
        self._total = total
        self._open()
        if self._bar is not None and self._bar.total != total:
            self._bar.reset(total=total)
        self.advance(done - self._done, note)

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text, file=self._stream)

    def _line(self) -> None:
        now = time.monotonic()
        self._next_line = now + LINE_SECONDS
        left = f", {seconds:.0f} s left" if (seconds := self.seconds_left(now)) is not None else ""
        note = f", {self._note}" if self._note else ""
        self._stream.write(f"{self._what}: step {self._done}/{self._total}{left}{note}\n")
        self._stream.flush()

    def seconds_left(self, now: float) -> float | None:
        """Return the time left at the pace since the first step; None before there is a pace."""
        if self._begin is None or self._done == self._begin[1]:
            return None
        return (now - self._begin[0]) * (self._total - self._done) / (self._done - self._begin[1])

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
