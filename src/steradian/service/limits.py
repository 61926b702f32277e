"""What the service refuses before it suffers."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

CLIENTS = 10_000
"""Clients that are remembered; beyond, those not seen for the longest time are forgotten."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what one request, one client and all together may ask.

    Attributes:
        request_bytes: of a request's body.
        plain_bytes: of a body that is no form with files.
        together_bytes: of all bodies that are held at a time.
        files: images of a request.
        pixels: that an image may claim.
        body_seconds: within which a body must have come.
        answer_seconds: within which an answer must be found.
        requests_per_minute: of one client; 0: any number.
        waiting: images that may wait to be decoded and embedded; beyond, the service says that it is busy.
        connections: at a time.
    """

    request_bytes: int = 32 * 2**20
    plain_bytes: int = 2**19
    together_bytes: int = 2**29
    files: int = 32
    pixels: int = 50_000_000
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    requests_per_minute: int = 1200
    waiting: int = 512
    connections: int = 512


class Rates:
    """A bucket of requests for each client: it holds a minute's worth of them and fills as the minute passes."""

    def __init__(self, per_minute: int) -> None:
        self._full = float(per_minute)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float | None = None) -> float:
        """Take one request; 0, or how many seconds ``client`` must wait for it."""
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
