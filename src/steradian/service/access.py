"""Control access by bearer tokens; without tokens, answer this machine alone."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi.security import HTTPBearer

from steradian.errors import UsageError

BEARER = HTTPBearer(auto_error=False, description="The service's --token; for reading, its --read-token is enough.")
"""Documents the token in the OpenAPI description; `Access.refusal` checks it earlier."""

OPEN = frozenset({"/v1/about", "/v1/classify", "/v1/embed", "/v1/openapi.json", "/v1/verify"})
"""Routes that reveal nothing about a gallery."""


@dataclass(frozen=True)
class Access:
    """Tokens of the service. Raises `UsageError` if other machines could reach it without a token, or one is too short.

    Attributes:
        admin: for all requests.
        reader: for reading identities only; None: reading needs the admin token, too.
        host: the address that the service listens on.
    """

    admin: str | None
    reader: str | None
    host: str

    def __post_init__(self) -> None:
        if self.admin is None and self.reader is not None:
            raise UsageError("A read-only token needs an admin token: give --token, too.")
        if self.admin is None and not is_loopback(self.host):
            raise UsageError(
                f"Without a token the service listens to this machine alone, but {self.host} is open to others. "
                "Give --token (or STERADIAN_TOKEN), or leave --host out."
            )
        for token in (self.admin, self.reader):
            if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token):
                raise UsageError(
                    "A token needs at least 8 characters, so that it cannot be guessed: letters and digits."
                )

    def refusal(self, method: str, path: str, authorization: str) -> tuple[int, str] | None:
        """Return (status, message) to refuse a request before its body is read; None if it is allowed.

        Routes outside `OPEN` need the admin token; for reading either token is enough.
        """
        if self.admin is None or not path.startswith("/v1/") or path in OPEN:
            return None
        kind, _, given = authorization.partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            return 401, "A token is needed: send the header Authorization: Bearer TOKEN."
        reads = method in ("GET", "HEAD") or path == "/v1/identify"
        allowed = [self.admin] if self.reader is None or not reads else [self.admin, self.reader]
        if not any(hmac.compare_digest(given.strip().encode(), token.encode()) for token in allowed):
            return 403, "This token does not allow this request."
        return None

    def comes_from_here(self, host: str, origin: str | None) -> bool:
        """Return whether a request is same-origin: pages of other sites must not use this service through a browser.

        Without a token the host name must be a loopback name, or a site could point its own name at this machine.
        """
        if "@" in host or "/" in host:
            return False
        try:
            name, site = urlsplit(f"//{host}").hostname or "", urlsplit(origin).netloc if origin is not None else host
        except ValueError:
            return False
        return (self.admin is not None or is_loopback(name)) and site == host


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
