"""Defer Ctrl-C and SIGTERM to the end of a step, so that only complete states are saved."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ECHO_SECONDS = 1.0
"""A terminal and a parent process may both forward one Ctrl-C; a signal this much later is a second one."""


class Interrupted(KeyboardInterrupt):
    """An interrupt that was deferred to the end of a step: the state is complete."""


@contextlib.contextmanager
def deferred_interrupts(agree: Callable[[bool], bool] = bool) -> Iterator[Callable[[], None]]:
    """Yield ``check``, which raises `Interrupted` if a signal arrived since the start.

    With several processes, each calls ``agree``, so that all stop at the same step.

    A second interrupt is not deferred: it raises KeyboardInterrupt immediately. Outside the main thread,
    where Python allows no handlers, interrupts stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    arrived_at: float | None = None

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal arrived_at
        if arrived_at is not None and time.monotonic() - arrived_at > ECHO_SECONDS:
            raise KeyboardInterrupt
        if arrived_at is None:
            arrived_at = time.monotonic()
            if multiprocessing.parent_process() is None:
                os.write(2, b"\nStopping after this step. Press Ctrl-C again to stop at once.\n")

    def check() -> None:
        if agree(arrived_at is not None):
            raise Interrupted

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
