"""Ctrl-C and SIGTERM that wait for the end of a step, so that what is saved is a state and not a half of one."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ECHO_SECONDS = 1.0
"""A terminal and a parent process may both pass on one Ctrl-C; a second one this much later is meant."""


class Interrupted(KeyboardInterrupt):
    """An interrupt that was held back until the end of a step: the state is whole."""


@contextlib.contextmanager
def deferred_interrupts(agree: Callable[[bool], bool] = bool) -> Iterator[Callable[[], None]]:
    """Yield ``check``, which raises `Interrupted` if an interrupt came since.

    Of several processes each asks ``agree``, so that all stop at the same step.

    A second interrupt is not deferred: it raises KeyboardInterrupt where it strikes. Outside the main thread,
    where Python allows no handlers, interrupts stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: float | None = None

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came is not None and time.monotonic() - came > ECHO_SECONDS:
            raise KeyboardInterrupt
        came = came if came is not None else time.monotonic()

    def check() -> None:
        if agree(came is not None):
            raise Interrupted

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
