"""Check every request before its body is read."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fastapi import HTTPException
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steradian.service.access import Access
from steradian.service.limits import Limits, RateLimiter
from steradian.service.telemetry import LOG, ServiceMetrics, log_request

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


FORM = "Send pictures as a form (multipart/form-data) in the field 'file', as in: curl -F file=@cat.jpg."


class Guard:
    """Refuse requests that are cross-site, too frequent, too large or too slow; count and log all."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, numbers: ServiceMetrics) -> None:
        self._app, self._access, self._limits, self._numbers = app, access, limits, numbers
        self._rates = RateLimiter(limits.requests_per_minute)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        if self._access.public is not None and scope["path"] == self._access.public.prefix:
            # Without the slash, the page's own addresses would lead elsewhere.
            await RedirectResponse(f"{quote(self._access.public.prefix)}/")(scope, receive, send)
            return
        # Before all checks, so that a prefix goes around none.
        path = self._access.path_of(scope["path"])
        if path != scope["path"]:
            scope = {**scope, "path": path, "raw_path": path.encode()}
        head = scope["method"] == "HEAD"
        counted = _CountedRequest(
            receive, _without_body(send) if head else send, self._limits, _largest(scope, self._limits), self._hold
        )
        refusal = self._refusal(scope)
        asked = {**scope, "method": "GET"} if head else scope
        try:
            await (refusal or self._app)(asked, counted.receive, counted.send)
        except Exception as error:  # noqa: BLE001 - any error is counted, logged and answered
            LOG.error("unexpected", exc_info=error)
            if not counted.started:
                await _refused(500, "The service failed; its log says why.")(scope, receive, counted.send)
        finally:
            # Release the bytes of cancelled requests, too.
            self._hold(-counted.held)
        seconds = time.perf_counter() - started
        # A request without a route has no pattern, and its path may contain anything.
        route = getattr(asked.get("route"), "path", None) or ("page" if counted.status < 400 else "none")
        self._numbers.requests.labels(route, _method(scope), str(counted.status)).inc()
        self._numbers.seconds.labels(route).observe(seconds)
        client = scope["client"][0] if scope.get("client") else ""
        log_request(route, _method(scope), counted.status, seconds, counted.received, client)

    def _hold(self, count: int) -> None:
        """Count the bytes of bodies in memory; a negative ``count`` releases them."""
        self._held += count
        if count > 0 and self._held > self._limits.together_bytes:
            raise HTTPException(503, "Too many uploads at a time: try again soon.", {"Retry-After": "1"})

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        stranger = self._access.stranger(headers.get(b"host", ""), headers.get(b"origin"))
        if stranger is not None:
            return _refused(403, stranger)
        wait = self._rates.wait(scope["client"][0] if scope.get("client") else "")
        if wait:
            seconds = math.ceil(wait)
            return _refused(429, f"Too many requests: wait {seconds} second(s).", {"Retry-After": str(seconds)})
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or len(length) > 18:
            return _refused(400, "The header Content-Length is not a number.")
        if int(length) > _largest(scope, self._limits):
            kind = headers.get(b"content-type", "").split(";")[0]
            if kind.startswith("image/") or kind == "application/octet-stream":
                return _refused(415, f"This body is {kind}. {FORM}")
            hint = "" if kind == "multipart/form-data" else f" {FORM}"
            return _refused(413, _too_large(_largest(scope, self._limits)) + hint)
        refusal = self._access.refusal(scope["method"], scope["path"], headers.get(b"authorization", ""))
        if refusal is not None:
            status, message, challenge = refusal
            return _refused(status, message, {"WWW-Authenticate": challenge})
        return None


class _CountedRequest:
    """Count and limit both directions of one request."""

    def __init__(self, receive: Receive, send: Send, limits: Limits, largest: int, hold: Callable[[int], None]) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._largest, self._hold = largest, hold
        self._deadline = time.monotonic() + limits.body_seconds
        self._complete = False
        self.received, self.held, self.status, self.started = 0, 0, 500, False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(self._deadline - time.monotonic(), 0.001))
        except asyncio.TimeoutError as error:
            raise HTTPException(408, f"The request took over {self._limits.body_seconds:g} s to arrive.") from error
        count = len(message.get("body", b""))
        self.received += count
        self._complete = not message.get("more_body", False)
        if self.received > self._largest:
            raise HTTPException(413, _too_large(self._largest))
        self.held += count
        self._hold(count)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await self._send(message)


def _without_body(send: Send) -> Send:
    """Return a ``send`` for HEAD, which asks for the headers of what GET would return."""

    async def send_headers(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_headers


def _largest(scope: Scope, limits: Limits) -> int:
    """Return the maximum size of a body: only forms with files may be large."""
    kinds = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    files = any(value.lower().startswith(b"multipart/form-data") for value in kinds)
    return limits.request_bytes if files else min(limits.request_bytes, limits.plain_bytes)


def _too_large(largest: int) -> str:
    return f"This request is larger than {largest:,} bytes: send fewer or smaller images."


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": message}, status, {**(headers or {}), "Connection": "close"})


def _method(scope: dict[str, Any] | Scope) -> str:
    """Return the method, or "other" if it is unknown: a client may send any word."""
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
