"""The address under which a proxy publishes the service, and the proxies that name its clients."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from steradian.errors import UsageError

OWN = "/v1"


@dataclass(frozen=True)
class PublicUrl:
    """An address such as https://example.com/faces.

    Attributes:
        origin: scheme, host and port, as browsers send them in ``Origin``.
        host: host and port, as a proxy may pass them on in ``Host``.
        prefix: the path before the service's own, or empty.
    """

    origin: str
    host: str
    prefix: str

    def path_of(self, path: str) -> str:
        """Return the service's own path of a requested one, whether or not the proxy has removed the prefix."""
        if self.prefix and (path == self.prefix or path.startswith(f"{self.prefix}/")):
            return path[len(self.prefix) :] or "/"
        return path


def public_url(text: str) -> PublicUrl:
    """Parse an address. Raises `UsageError` if it is none."""
    origin, path = _origin(text, "--public-url", "https://example.com/faces")
    prefix = unquote(path.rstrip("/"))
    if prefix == OWN or prefix.startswith(f"{OWN}/") or "//" in prefix:
        raise UsageError(f"--public-url cannot end in {path}: the service's own routes begin with {OWN}/.")
    return PublicUrl(origin, urlsplit(origin).netloc, prefix)


def origin_of(text: str) -> str:
    """Parse the origin of pages that may use the service. Raises `UsageError` if it is none."""
    origin, path = _origin(text, "--origin", "https://app.example.com")
    if path.strip("/"):
        raise UsageError(f"--origin {text} has a path, but browsers name only the site: give {origin}.")
    return origin


def with_mapped(proxies: Sequence[str]) -> tuple[str, ...]:
    """Return addresses and networks, and those of IPv4 also as a socket of IPv6 sees them (RFC 4291)."""
    networks = [ipaddress.ip_network(one) for one in proxies]
    mapped = [
        f"::ffff:{one.network_address}/{96 + one.prefixlen}"
        for one in networks
        if isinstance(one, ipaddress.IPv4Network)
    ]
    return (*proxies, *(str(ipaddress.ip_network(one)) for one in mapped))


def _origin(text: str, option: str, example: str) -> tuple[str, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{option} {text} is not an address ({error}): give one such as {example}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(f"{option} {text} is not an address: give one such as {example}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # Browsers leave the usual port out.
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}{f':{port}' if port not in (None, usual) else ''}", parts.path


def network_of(text: str) -> str:
    """Return the address or network of a proxy. Raises `UsageError` if it is none."""
    try:
        return str(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))
    except ValueError as error:
        raise UsageError(
            f"--trust-proxy {text} is not an address or network ({error}): as 10.0.0.2, 10.0.0.0/24."
        ) from error
