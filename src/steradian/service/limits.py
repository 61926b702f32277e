"""Limits that protect the service from overload."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

CLIENTS = 10_000
"""Maximum clients remembered; beyond, the least recently seen are forgotten."""


@dataclass(frozen=True)
class Limits:
    """Limits on one request, on one client and on all requests together.

    Attributes:
        request_bytes: of a request body.
        plain_bytes: of a body that is not a form with files.
        together_bytes: of all bodies in memory at a time.
        files: images per request.
        pixels: per image, by its header.
        slow_pixels: of an image of a format whose decoder is slow.
        scans: of a progressive JPEG, each of which is decoded over all of its pixels.
        together_pixels: of all images that are decoded at a time.
        body_seconds: within which a body must arrive.
        answer_seconds: within which a request must be answered.
        requests_per_minute: per client; 0: unlimited.
        waiting: images that may wait to be decoded and embedded; beyond, the service answers 503.
        connections: open at a time.
    """

    request_bytes: int = 32 * 2**20
    plain_bytes: int = 2**19
    together_bytes: int = 2**29
    files: int = 32
    pixels: int = 50_000_000
    slow_pixels: int = 4_000_000
    scans: int = 100
    together_pixels: int = 100_000_000
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    requests_per_minute: int = 1200
    waiting: int = 512
    connections: int = 512


class PixelBudget:
    """Let images of up to ``together`` pixels be decoded at the same time; others wait for their turn."""

    def __init__(self, together: int) -> None:
        self._free, self._together = together, together
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Wait until an image of ``pixels`` may be decoded; a larger one than all together, alone."""
        taken = min(pixels, self._together)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


class RateLimiter:
    """A token bucket for each client: it holds one minute of requests and refills steadily."""

    def __init__(self, per_minute: int) -> None:
        self._full = float(per_minute)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float | None = None) -> float:
        """Count one request; return 0, or the seconds that ``client`` must wait first."""
        if not self._full:
            return 0.0
        now = time.monotonic() if now is None else now
        left, seen = self._clients.pop(client, (self._full, now))
        left = min(self._full, left + (now - seen) * self._full / 60.0)
        wait = 0.0 if left >= 1.0 else (1.0 - left) * 60.0 / self._full
        self._clients[client] = (left - 1.0 if not wait else left, now)
        while len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        return wait
