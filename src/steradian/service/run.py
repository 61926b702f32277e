"""Serve until stopped; answer all accepted requests first."""

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

HEADER_SECONDS = 10.0
"""Seconds within which the headers of a connection's first request must arrive."""


def listen(host: str, port: int) -> socket.socket:
    """Open a socket for ``host`` and ``port``; 0: any free port. Raises `UsageError` if that fails."""
    # Name TCP: only then does asyncio set TCP_NODELAY, so that answers are sent at once.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"Cannot listen on {host}:{port} ({error}): choose another --port or --host.") from error
    return listener


class HeaderTimeout(H11Protocol):
    """Close connections that send no request in time, so that they do not block others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(HEADER_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def run(app: FastAPI, listener: socket.socket, connections: int, ready: Callable[[], None]) -> bool:
    """Serve ``app`` until SIGINT or SIGTERM; return whether all accepted requests were answered in `GRACE` seconds."""
    config = uvicorn.Config(
        app,
        http=HeaderTimeout,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Any client could forge these headers; a proxy counts as one client.
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

    # After it has stopped, uvicorn raises the signal once more for other handlers.
    server = Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return server.in_time
