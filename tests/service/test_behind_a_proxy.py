"""The service behind nginx as the how-to sets it up, below a path, for pages of other sites, and for its clients."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from steradian.errors import UsageError
from steradian.models.calibration import Threshold
from steradian.service.access import Access
from steradian.service.app import build_app
from steradian.service.limits import Limits
from steradian.service.public_url import network_of, origin_of, public_url, with_mapped

from .conftest import drawing, files, serving

ADMIN = "admin-token-1234"
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"
Start = Callable[..., httpx.Client]

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="no nginx on this machine: apt-get install nginx"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def nginx(folder: Path, port: int, service: str) -> Iterator[None]:
    """Run the server block of the how-to, without TLS, on ``port`` before ``service``."""
    (block,) = re.findall(r"```nginx\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert block.count("http://127.0.0.1:8000/;") == 1 and "listen 443 ssl;" in block
    block = re.sub(r".*ssl_certificate.*\n", "", block).replace("443 ssl", f"127.0.0.1:{port}")
    block = block.replace("http://127.0.0.1:8000/;", f"{service}/;")
    folder.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    config = folder / "nginx.conf"
    # As root, its workers would change to a user who may not write to the folder.
    user = "user root; " if os.geteuid() == 0 else ""
    config.write_text(
        f"{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off;\n{places}{block}}}\n"
    )
    with subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", str(config)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            yield
        finally:
            process.terminate()


@needs_nginx
def test_the_server_block_of_the_how_to(served: Start, tmp_path: Path) -> None:
    port = free_port()
    public = public_url(f"http://127.0.0.1:{port}/faces")
    access = Access(ADMIN, None, "127.0.0.1", public, (), ("127.0.0.1",))
    behind = served(access=access, limits=Limits(requests_per_minute=20))
    with (
        nginx(tmp_path / "nginx", port, str(behind.base_url).rstrip("/")),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        origin, token = {"Origin": f"http://127.0.0.1:{port}"}, {"Authorization": f"Bearer {ADMIN}"}
        assert "steradian" in client.get("/faces/").text
        assert client.get("/faces", follow_redirects=True).url.path == "/faces/"
        assert client.get("/faces/v1/identities").status_code == 401
        assert client.get("/faces/v1/identities", headers=origin | token).status_code == 200
        large = drawing("ring") + bytes(2**21)
        assert client.post("/faces/v1/embed", files=files(large), headers=origin).status_code == 200
        evil = client.post("/faces/v1/embed", files=files(drawing("ring")), headers={"Origin": "http://evil.example"})
        assert evil.status_code == 403 and "cross-site origin" in evil.json()["detail"]
        # Each client that the proxy names has a limit of its own.
        first, second = ({"X-Forwarded-For": f"203.0.113.{last}"} for last in (1, 2))
        statuses = [client.get("/faces/healthz", headers=first).status_code for _ in range(22)]
        assert statuses[:20] == [200] * 20 and statuses[-1] == 429
        assert client.get("/faces/healthz", headers=second).status_code == 200


def test_a_path_does_not_go_around_the_token(served: Start) -> None:
    public = public_url("https://example.com/faces/")
    client = served(access=Access(ADMIN, None, "127.0.0.1", public))
    for prefix in ("", "/faces"):
        assert client.get(f"{prefix}/v1/identities").status_code == 401, prefix
        assert client.delete(f"{prefix}/v1/identities/1").status_code == 401, prefix
        assert client.get(f"{prefix}/healthz").text == "ok"
        found = client.get(f"{prefix}/v1/identities", headers={"Authorization": f"Bearer {ADMIN}"})
        assert found.status_code == 200 and found.json()["total"] == 0
    assert client.get("/facesv1/identities").status_code == 404
    assert client.get("/faces/v1/openapi.json").json()["servers"] == [{"url": "/faces"}]


def test_a_proxy_with_its_own_host(served: Start) -> None:
    client = served(access=Access(ADMIN, None, "127.0.0.1", public_url("https://people.example.com")))
    for host in ("people.example.com", None):
        headers = {"Origin": "https://people.example.com"} | ({"Host": host} if host else {})
        assert client.post("/v1/embed", files=files(drawing("ring")), headers=headers).status_code == 200
    for origin in ("https://people.example.com.evil.example", "http://people.example.com:81", "null"):
        refused = client.post("/v1/embed", files=files(drawing("ring")), headers={"Origin": origin})
        assert refused.status_code == 403 and "WWW-Authenticate" not in refused.headers


def test_a_page_of_another_site(served: Start) -> None:
    origin = "https://app.example.com"
    client = served(access=Access(ADMIN, None, "127.0.0.1", None, (origin,)))
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = client.options("/v1/identify", headers={"Origin": origin, **ask})
    assert allowed.status_code == 200 and allowed.headers["Access-Control-Allow-Origin"] == origin
    answer = client.post("/v1/embed", files=files(drawing("ring")), headers={"Origin": origin})
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == origin
    refused = client.get("/v1/identities", headers={"Origin": origin})
    assert refused.status_code == 401 and refused.headers["Access-Control-Allow-Origin"] == origin
    other = client.options("/v1/identify", headers={"Origin": "https://evil.example", **ask})
    assert other.status_code == 400 and "Access-Control-Allow-Origin" not in other.headers
    assert client.post("/v1/embed", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/v1/about").headers.get("Access-Control-Allow-Origin") is None


def test_only_trusted_proxies_name_clients(served: Start) -> None:
    client = served(limits=Limits(requests_per_minute=3))
    named = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(5)]
    assert [client.get("/healthz", headers=one).status_code for one in named] == [200] * 3 + [429] * 2


def test_why_a_token_was_refused(served: Start) -> None:
    client = served(access=Access(ADMIN, "reader-token-1", "127.0.0.1"))
    for token, reason in (("wrong-token-1", "invalid_token"), ("reader-token-1", "insufficient_scope")):
        refused = client.delete("/v1/identities/1", headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == 403 and reason in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "text",
    ["example.com", "ftp://example.com", "https://", "https://u@example.com", "https://a.b/?x=1", "http://[", ""],
)
def test_what_is_no_address(text: str) -> None:
    for parse in (public_url, origin_of):
        with pytest.raises(UsageError, match="not an address"):
            parse(text)


def test_addresses_as_browsers_write_them() -> None:
    assert origin_of("https://App.Example.com:443/") == "https://app.example.com"
    assert origin_of("http://[::1]:8080") == "http://[::1]:8080"
    with pytest.raises(UsageError, match="has a path"):
        origin_of("https://app.example.com/page")
    with pytest.raises(UsageError, match="own routes"):
        public_url("https://example.com/v1")
    assert network_of("10.0.0.0/24") == "10.0.0.0/24"
    with pytest.raises(UsageError, match="--trust-proxy"):
        network_of("proxy.local")
    with pytest.raises(UsageError, match="needs a token"):
        Access(None, None, "127.0.0.1", public_url("https://example.com"))


def test_the_address_without_its_slash_leads_to_the_page(served: Start) -> None:
    client = served(access=Access(ADMIN, None, "127.0.0.1", public_url("https://example.com/my%20faces")))
    moved = client.get("/my%20faces", follow_redirects=False)
    assert moved.status_code == 307 and moved.headers["location"] == "/my%20faces/"
    assert client.get("/my%20faces/healthz").text == "ok"


def test_a_proxy_by_a_socket_of_ipv6() -> None:
    assert with_mapped(["127.0.0.1", "10.0.0.0/24", "::1"])[3:] == ("::ffff:7f00:1/128", "::ffff:a00:0/120")


def test_both_rates_at_once(served: Start, gallery, glyphs) -> None:
    gallery.enroll_vectors("a", glyphs.embed([np.asarray(Image.open(io.BytesIO(drawing("ring"))))]), [""])
    with serving(build_app(glyphs, gallery, far=0.001, strangers=0.05)) as client:
        assert client.post("/v1/identify", files=files(drawing("ring"))).status_code == 200
        assert client.get("/v1/about").json()["by_pairs"] is False
    assert served().get("/v1/about").json()["by_pairs"] is True


def test_the_size_of_a_gallery_is_not_told_without_a_token(served: Start, gallery) -> None:
    gallery.set_thresholds(
        [Threshold(far=0.1, cosine=0.9, low=0.8, high=1.0, measured_on="36 images of 12 identities")]
    )
    assert "36 images" not in served(access=Access(ADMIN, None, "127.0.0.1")).get("/v1/about").text
