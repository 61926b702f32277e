"""Numbers of images that machines give without asking each other."""

from __future__ import annotations

import secrets
import threading
import time


class ImageNumbers:
    """Numbers of images that rise, differ between machines, and are exact in JSON: second, machine, place."""

    def __init__(self) -> None:
        self._machine, self._lock = secrets.randbits(12), threading.Lock()
        self._second, self._place = 0, 0

    def next(self) -> int:
        """Another one. Two machines in 4,096 share their part, and then a number where second and place agree, too."""
        with self._lock:
            second = max(int(time.time()), self._second)
            self._place = self._place + 1 if second == self._second else 0
            if self._place == 2**10:
                second, self._place = second + 1, 0
            self._second = second
            return second << 22 | self._machine << 10 | self._place
