"""Assign image ids on several machines without coordination."""

from __future__ import annotations

import secrets
import threading
import time


class ImageNumbers:
    """Image ids that rise, differ between machines, and are exact in JSON: second, machine, counter."""

    def __init__(self) -> None:
        self._machine, self._lock = secrets.randbits(12), threading.Lock()
        self._second, self._counter = 0, 0

    def next(self) -> int:
        """Return a new id. Two machines share their part with chance 1/4096; then same second and counter collide."""
        with self._lock:
            second = max(int(time.time()), self._second)
            self._counter = self._counter + 1 if second == self._second else 0
            if self._counter == 2**10:
                second, self._counter = second + 1, 0
            self._second = second
            return second << 22 | self._machine << 10 | self._counter
