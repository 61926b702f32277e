"""Listen until told to stop; what was accepted is answered before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from steradian.errors import UsageError

GRACE = 30

FIRST_WORDS = 10.0
"""Seconds within which the head of a connection's first request must have come."""


def listen(host: str, port: int) -> socket.socket:
    """A socket for ``host`` and ``port``; 0: any that is free. Raises `UsageError` where it cannot be had."""
    # Named TCP: only then does asyncio send answers at once rather than after the client's next acknowledgment.
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((host, port))
        place.listen(512)
    except (OSError, OverflowError) as error:
        place.close()
        raise UsageError(f"{host}:{port} cannot be listened on ({error}): choose another --port or --host.") from error
    return place


class Impatient(H11Protocol):
    """Closes connections that do not say what they want: they would take the place of others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(FIRST_WORDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def run(app: FastAPI, place: socket.socket, connections: int, ready: Callable[[], None]) -> bool:
    """Serve ``app`` at ``place`` until SIGINT or SIGTERM; ``ready`` is called when it listens.

    Returns:
        Whether all that was accepted was answered within `GRACE` seconds.
    """
    config = uvicorn.Config(
        app,
        http=Impatient,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Whoever sends the header could call himself anybody; a proxy counts as one client.
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
    )

    class Server(uvicorn.Server):
        in_time = False

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            started = time.monotonic()
            await super().shutdown(sockets)
            self.in_time = not self.force_exit and time.monotonic() - started < GRACE

    # Having stopped as told, uvicorn raises the signal once more, for whoever else may wait for it.
    server = Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[place])
    return server.in_time
