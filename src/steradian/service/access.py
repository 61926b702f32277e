"""Who may ask what: bearer tokens, and without them this machine alone."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from steradian.errors import UsageError


@dataclass(frozen=True)
class Access:
    """Tokens of the service.

    Attributes:
        admin: for everything.
        reader: for what reads identities, but changes nothing; None: the admin's alone.
        host: what the service listens on.

    Raises:
        UsageError: others could reach a service that asks for no token.
    """

    admin: str | None
    reader: str | None
    host: str

    def __post_init__(self) -> None:
        if self.admin is None and self.reader is not None:
            raise UsageError("A read-only token without one that may change something: give --token, too.")
        if self.admin is None and not is_loopback(self.host):
            raise UsageError(
                f"Without a token the service listens to this machine alone, and {self.host} is open to others. "
                "Give --token (or STERADIAN_TOKEN), or leave --host out."
            )
        if any(token is not None and len(token) < 8 for token in (self.admin, self.reader)):
            raise UsageError("A token needs at least 8 characters, so that it cannot be guessed.")

    async def may_read(self, request: Request) -> None:
        """Raises `HTTPException` unless the request may read identities."""
        self._check(request, [token for token in (self.admin, self.reader) if token is not None])

    async def may_change(self, request: Request) -> None:
        """Raises `HTTPException` unless the request may change something."""
        self._check(request, [self.admin] if self.admin is not None else [])

    def _check(self, request: Request, allowed: list[str]) -> None:
        if self.admin is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not given:
            raise HTTPException(
                401, "A token is needed: send the header Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
            )
        if not any(hmac.compare_digest(given.strip().encode(), token.encode()) for token in allowed):
            raise HTTPException(403, "This token does not allow it.")

    def comes_from_here(self, host: str, origin: str | None) -> bool:
        """Whether a request may have been meant: no page of another site makes a browser use this service.

        Without a token the name asked for must be one of this machine, or a site could point its own name here.
        """
        try:
            name, site = urlsplit(f"//{host}").hostname or "", urlsplit(origin).netloc if origin is not None else host
        except ValueError:
            return False
        return (self.admin is not None or is_loopback(name)) and site == host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
