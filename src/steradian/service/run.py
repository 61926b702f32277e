"""Serve until stopped; answer all accepted requests first."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from steradian.errors import UsageError
from steradian.service.public_url import with_mapped

GRACE = 30

HEADER_SECONDS = 10.0
"""Seconds within which the headers of a request must arrive, from its first byte, or from the connection."""

SEND_SECONDS = 30.0
"""Seconds within which a client must read what waits to be sent; beyond, its connection ends."""

TOO_MANY = b'{"detail":"Too many connections from one client: close some first."}'
REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(TOO_MANY), TOO_MANY)
)


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
    """Close connections whose next request does not arrive in time, or whose answer is not read in time.

    Nor may one client hold more than half of all connections, unless it is one of the trusted ``proxies``.
    """

    def __init__(self, *arguments: Any, proxies: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._proxies = [ipaddress.ip_network(proxy) for proxy in with_mapped(proxies)]
        self._arriving: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._holds_too_many():
            transport.write(REFUSED)
            transport.close()
            return
        self._arriving = self.loop.call_later(HEADER_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._arriving is None:
            # The first bytes of a further request.
            self._arriving = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_watching()
        super().resume_writing()

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_waiting(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _holds_too_many(self) -> bool:
        most = self.limit_concurrency
        if most is None or self.client is None:
            return False
        client = self.client[0]
        held = sum((getattr(one, "client", None) or ("",))[0] == client for one in self.connections)
        return held > most // 2 and not any(ipaddress.ip_address(client) in proxy for proxy in self._proxies)


def run(
    app: FastAPI,
    listener: socket.socket,
    connections: int,
    ready: Callable[[], None],
    proxies: Sequence[str] = (),
) -> bool:
    """Serve ``app`` until SIGINT or SIGTERM; return whether all accepted requests were answered in `GRACE` seconds."""
    config = uvicorn.Config(
        app,
        http=functools.partial(HeaderTimeout, proxies=proxies),  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        server_header=False,
        # The application reads these headers, from the proxies that it trusts: any client could forge them.
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
