"""Control access by bearer tokens; without tokens, answer this machine alone."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi.security import HTTPBearer

from steradian.errors import UsageError
from steradian.service.public_url import PublicUrl

BEARER = HTTPBearer(auto_error=False, description="The service's --token; for reading, its --read-token is enough.")
"""Documents the token in the OpenAPI description; `Access.refusal` checks it earlier."""

UNKNOWN_HOST = (
    "Request refused: unknown host name (header Host). Behind a proxy, start the service with --public-url ADDRESS."
)
OTHER_SITE = (
    "Request refused: cross-site origin (header Origin). Behind a proxy, start the service with --public-url ADDRESS; "
    "for pages of another site, with --origin SITE."
)

ASKING = frozenset({"/v1/explain", "/v1/identify"})
"""Routes that read, although a picture is sent to them."""

OPEN = frozenset({"/v1/about", "/v1/classify", "/v1/embed", "/v1/openapi.json", "/v1/verify"})
"""Routes that reveal nothing about a gallery."""


@dataclass(frozen=True)
class Access:
    """Tokens of the service. Raises `UsageError` if other machines could reach it without a token, or one is too short.

    Attributes:
        admin: for all requests.
        reader: for reading identities only; None: reading needs the admin token, too.
        host: the address that the service listens on.
        public: the address under which a proxy publishes the service.
        origins: other sites whose pages may use the service.
        proxies: addresses and networks whose X-Forwarded-For names the client.
    """

    admin: str | None
    reader: str | None
    host: str
    public: PublicUrl | None = None
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (
            self.admin is None
            and self.public is not None
            and not is_loopback(urlsplit(self.public.origin).hostname or "")
        ):
            raise UsageError("A service that a proxy publishes needs a token: give --token (or STERADIAN_TOKEN), too.")
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

    def path_of(self, path: str) -> str:
        """Return the service's own path of a requested one."""
        return path if self.public is None else self.public.path_of(path)

    def refusal(self, method: str, path: str, authorization: str) -> tuple[int, str, str] | None:
        """Return status, message and WWW-Authenticate to refuse a request before its body is read, or None.

        Routes outside `OPEN` need the admin token; for reading either token is enough. The words of the header are
        those of RFC 6750.
        """
        if self.admin is None or not path.startswith("/v1/") or path in OPEN:
            return None
        kind, _, given = authorization.partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            return 401, "A token is needed: send the header Authorization: Bearer TOKEN.", "Bearer"
        reads = method in ("GET", "HEAD") or path in ASKING
        admin, reader = (
            token is not None and hmac.compare_digest(given.strip().encode(), token.encode())
            for token in (self.admin, self.reader)
        )
        if admin or (reader and reads):
            return None
        reason = "insufficient_scope" if reader else "invalid_token"
        return 403, "This token does not allow this request.", f'Bearer error="{reason}"'

    def stranger(self, host: str, origin: str | None) -> str | None:
        """Say why a request may come from a page of another site, which must not use this service; None if it may not.

        Without a token the host name must be a loopback name, or a site could point its own name at this machine.
        """
        if "@" in host or "/" in host:
            return UNKNOWN_HOST
        try:
            name = urlsplit(f"//{host}").hostname or ""
            site = urlsplit(origin).netloc if origin is not None else host
        except ValueError:
            return UNKNOWN_HOST
        published = self.public is not None and host == self.public.host
        if self.admin is None and not is_loopback(name) and not published:
            return UNKNOWN_HOST
        known = origin in self.origins or (self.public is not None and origin == self.public.origin)
        return None if site == host or known else OTHER_SITE


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
