"""Who may come in, how often, with how much; and what a stranger can send."""

from __future__ import annotations

import concurrent.futures
import gc
import io
import json
import logging
import os
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image, PngImagePlugin

from steradian.errors import UsageError
from steradian.gallery import Gallery
from steradian.service import run as running
from steradian.service.access import Access, is_loopback
from steradian.service.limits import CLIENTS, Limits, RateLimiter
from steradian.service.run import listen
from steradian.service.telemetry import LOG

from .conftest import drawing, files

Start = Callable[..., httpx.Client]

# The framework leaves the files of a form that breaks off to the garbage collector, which closes them.
pytestmark = pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


ADMIN, READER = "admin-token", "reader-token"

ROUTES = [
    ("GET", "/v1/identities", "read"),
    ("GET", "/v1/identities/1", "read"),
    ("GET", "/v1/images/1", "read"),
    ("GET", "/v1/map", "read"),
    ("POST", "/v1/identify", "read"),
    ("POST", "/v1/explain", "read"),
    ("POST", "/v1/identities", "change"),
    ("PATCH", "/v1/identities/1", "change"),
    ("DELETE", "/v1/identities/1", "change"),
    ("POST", "/v1/identities/1/merge", "change"),
    ("DELETE", "/v1/images/1", "change"),
    ("POST", "/v1/images/move", "change"),
    ("GET", "/v1/about", "open"),
    ("GET", "/healthz", "open"),
    ("GET", "/metrics", "open"),
    ("GET", "/", "open"),
    ("POST", "/v1/classify", "open"),
    ("POST", "/v1/embed", "open"),
    ("POST", "/v1/verify", "open"),
]


def test_every_route_asks_for_the_token_that_it_needs(served: Start, glyphs) -> None:
    client = served(access=Access(ADMIN, READER, "127.0.0.1"))
    allowed = {"open": {None, "wrong-token", READER, ADMIN}, "read": {READER, ADMIN}, "change": {ADMIN}}
    for method, path, need in ROUTES:
        for token in (None, "wrong-token", READER, ADMIN):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            status = client.request(method, path, headers=headers).status_code
            refused = status in (401, 403)
            assert refused == (token not in allowed[need]), (method, path, token, status)
            assert not refused or status == (401 if token is None else 403)
    described = {
        (method.upper(), path)
        for path, verbs in client.get("/v1/openapi.json").json()["paths"].items()
        for method in verbs
    }
    asked = {(method, path.replace("/1", "/{number}")) for method, path, _ in ROUTES}
    assert described <= asked, "a route whose access is not tested"


def test_without_a_token_the_service_listens_to_this_machine_alone() -> None:
    for host, inside in (
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
    ):
        assert is_loopback(host) is inside
    with pytest.raises(UsageError, match="open to others"):
        Access(None, None, "0.0.0.0")
    with pytest.raises(UsageError, match="read-only token needs"):
        Access(None, READER, "127.0.0.1")
    with pytest.raises(UsageError, match="at least 8 characters"):
        Access("short", None, "0.0.0.0")
    with pytest.raises(UsageError, match="letters and digits"):
        Access("long enough", None, "0.0.0.0")
    assert Access(ADMIN, None, "0.0.0.0").admin == ADMIN


def test_pages_of_other_sites_cannot_use_it(served: Start) -> None:
    client = served()
    own = str(client.base_url).removeprefix("http://").rstrip("/")
    for headers, status in (
        ({"Origin": f"http://{own}"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "["}, 403),
        ({"Host": "x@localhost"}, 403),
        ({"Origin": "http://["}, 403),
    ):
        assert client.post("/v1/embed", files=files(drawing("ring")), headers=headers).status_code == status, headers
    page = client.get("/")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in page.headers


def test_a_client_waits_when_its_minute_is_used_up(served: Start) -> None:
    client = served(limits=Limits(requests_per_minute=3))
    assert [client.get("/healthz").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get("/healthz")
    assert 1 <= int(refused.headers["retry-after"]) <= 20 and "Too many requests" in refused.json()["detail"]


def test_rates_fill_with_time_and_forget_old_clients() -> None:
    rates = RateLimiter(60)
    assert all(rates.wait("a", 0.0) == 0.0 for _ in range(60))
    assert rates.wait("a", 0.0) == pytest.approx(1.0) and rates.wait("b", 0.0) == 0.0
    assert rates.wait("a", 1.5) == 0.0 and rates.wait("a", 1.5) == pytest.approx(0.5)
    for number in range(CLIENTS + 5):
        rates.wait(str(number), 2.0)
    assert "a" not in rates._clients and str(CLIENTS + 4) in rates._clients
    assert len(rates._clients) == CLIENTS and RateLimiter(0).wait("a") == 0.0


def test_too_much_is_refused_before_it_is_read(served: Start, gallery: Gallery) -> None:
    client = served(limits=Limits(request_bytes=20_000, files=3, pixels=10_000))
    assert client.post("/v1/embed", files=files(drawing("ring"))).status_code == 200
    refused = client.post("/v1/embed", files=files(b"x" * 30_000))
    assert refused.status_code == 413 and "20,000 bytes" in refused.json()["detail"]

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 1000

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/v1/embed", content=endless(), headers=kind).status_code == 413
    assert client.post("/v1/embed", files=files(*[drawing("ring")] * 4)).status_code == 413
    sent = {"content": b"[" * 19_000, "headers": {"Content-Type": "application/json"}}
    assert served(limits=Limits(plain_bytes=10_000)).patch("/v1/identities/1", **sent).status_code == 413
    assert served(limits=Limits(together_bytes=100)).post("/v1/embed", files=files(drawing("ring"))).status_code == 503
    large = io.BytesIO()
    Image.new("L", (200, 200)).save(large, "PNG")
    refused = client.post("/v1/embed", files=files(large.getvalue()))
    assert refused.status_code == 422 and "over the limit of 10,000" in refused.json()["detail"]
    assert client.post("/v1/embed", files=files(drawing("ring"))).status_code == 200


def test_a_body_that_never_comes_is_not_waited_for(served: Start) -> None:
    client = served(limits=Limits(body_seconds=0.3))
    place = str(client.base_url.host), client.base_url.port or 0
    with socket.create_connection(place) as slow:
        slow.sendall(
            b"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        slow.settimeout(10)
        assert b" 408 " in slow.recv(1000)
    assert client.get("/healthz").status_code == 200


def malformed(generator: random.Random) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request that something is wrong with."""
    formats = ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]
    buffer = io.BytesIO()
    Image.open(io.BytesIO(drawing("ring"))).convert("RGB").save(buffer, generator.choice(formats))
    content = bytearray(buffer.getvalue())
    kind = generator.randrange(10)
    if kind < 4:
        for _ in range(generator.choice([1, 3, 30])):
            content[generator.randrange(len(content))] = generator.randrange(256)
    elif kind == 4:
        content = content[: generator.randrange(len(content))]
    elif kind == 5:
        content = bytearray(generator.randbytes(generator.randrange(2000)))
    elif kind == 6:
        texts = [
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            b"GIF89a/*<script>*/",
            b"%!PS-Adobe-3.0 EPSF",
        ]
        content = bytearray(generator.choice(texts))
    elif kind == 7:
        bomb, text = io.BytesIO(), PngImagePlugin.PngInfo()
        text.add_text("a", "x" * 200_000, zip=True)
        Image.new("1", (9000, 9000)).save(bomb, "PNG", pnginfo=text)
        content = bytearray(bomb.getvalue())
    boundary = generator.choice([b"b", b"x" * 70])
    name = generator.choice([b"a.png", b"../../etc/passwd", b"<script>", b"\xff\xfe", b"a" * 3000, b"a\x00b", b""])
    head = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
    body = head + bytes(content) + b"\r\n--" + boundary + b"--\r\n"
    if kind == 8:
        body = body[: generator.randrange(len(body))]
    kinds = [
        "multipart/form-data; boundary=" + boundary.decode(),
        "multipart/form-data",
        "image/png",
        "application/json",
        "",
    ]
    chosen = kinds[0] if kind != 9 else generator.choice(kinds)
    headers = {"Content-Type": chosen} if chosen else {}
    if generator.random() < 0.1:
        headers[generator.choice(["Range", "Accept", "Cookie", "X-Forwarded-For"])] = "x" * generator.choice([1, 4000])
    return headers, body


def test_too_much_to_do_and_too_long_are_said(served: Start, glyphs, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    embed = type(glyphs).embed

    def slow(self, *given, **options):
        gate.wait(10)
        return embed(self, *given, **options)

    monkeypatch.setattr(type(glyphs), "embed", slow)
    client = served(limits=Limits(answer_seconds=0.5, waiting=2))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(client.post, "/v1/embed", files=files(drawing("ring"))) for _ in range(6)]
        statuses = sorted(one.result().status_code for one in asked)
    gate.set()
    assert set(statuses) == {503, 504}, statuses


def test_what_nobody_expected_is_counted_and_told(served: Start, glyphs, monkeypatch: pytest.MonkeyPatch) -> None:
    client = served()
    monkeypatch.setattr(type(glyphs), "embed", lambda *_, **__: 1 / 0)
    failed = client.post("/v1/embed", files=files(drawing("ring")))
    assert failed.status_code == 500 and failed.json()["detail"] == "The service failed; its log says why."
    assert failed.headers["x-content-type-options"] == "nosniff"
    assert 'route="/v1/embed",status="500"} 1.0' in client.get("/metrics").text


def test_malformed_uploads_harm_nobody(served: Start) -> None:
    """Many more by STERADIAN_MALFORMED=10000."""
    client = served(limits=Limits(requests_per_minute=0))
    count = int(os.environ.get("STERADIAN_MALFORMED", "150"))
    generator = random.Random(int(os.environ.get("STERADIAN_MALFORMED_SEED", "0")))
    statuses: dict[int, int] = {}
    for turn in range(count):
        headers, body = malformed(generator)
        route = generator.choice(["classify", "embed", "identify", "verify", "identities"])
        told = client.post(f"/v1/{route}", content=body, headers=headers)
        statuses[told.status_code] = statuses.get(told.status_code, 0) + 1
        assert told.status_code < 500, (turn, route, told.text)
        assert told.headers["content-type"].startswith("application/json")
        if turn % 25 == 0:
            fine = client.post("/v1/embed", files=files(drawing("ring")))
            assert fine.status_code == 200 and len(fine.json()["vectors"]) == 1
    assert statuses.keys() & {400, 422}, statuses


def test_what_an_operator_sees_tells_no_name_and_no_picture(served: Start, caplog: pytest.LogCaptureFixture) -> None:
    client = served()
    LOG.propagate = True
    with caplog.at_level(logging.INFO, "steradian.service"):
        client.post("/v1/identities", data={"name": "Secret Name"}, files=files(drawing("ring")))
        client.post("/v1/identify", files=files(drawing("ring"), b"no image"))
        client.get("/v1/identities?containing=Secret")
        client.get("/Secret/../path")
        time.sleep(0.1)
    lines = [json.loads(record.message) for record in caplog.records if record.name == "steradian.service"]
    assert [one["route"] for one in lines][:3] == ["/v1/identities", "/v1/identify", "/v1/identities"]
    assert all(set(one) == {"time", "method", "route", "status", "ms", "bytes", "client"} for one in lines)
    assert "Secret" not in json.dumps(lines) and lines[0]["bytes"] > 100
    numbers = client.get("/metrics").text
    assert (
        'steradian_decisions_total{decision="match"} 1.0' in numbers and "steradian_refused_images_total 1.0" in numbers
    )
    assert 'steradian_requests_total{method="POST",route="/v1/identities",status="201"} 1.0' in numbers
    assert "Secret" not in numbers and "steradian_batch_images_bucket" in numbers


def test_a_port_in_use_is_said() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="choose another --port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_a_connection_that_says_nothing_is_closed(served: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "HEADER_SECONDS", 0.2)
    client = served()
    place = str(client.base_url.host), client.base_url.port or 0
    with socket.create_connection(place) as silent, socket.create_connection(place) as slow:
        slow.sendall(b"GET /healthz HTT")
        for one in (silent, slow):
            one.settimeout(10)
            assert one.recv(1000) == b""
    time.sleep(0.3)
    assert client.get("/healthz").status_code == 200


def test_a_writer_elsewhere_does_not_stop_questions(served: Start, gallery: Gallery) -> None:
    client = served()
    client.post("/v1/identities", data={"name": "Ana"}, files=files(drawing("ring")))
    other = sqlite3.connect(gallery.register.backend.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        enrolling = pool.submit(client.post, "/v1/identities", data={"name": "Bob"}, files=files(drawing("cross")))
        time.sleep(0.3)
        started = time.monotonic()
        answer = client.post("/v1/identify", files=files(drawing("ring"))).json()["answers"][0]
        assert answer["label"] == "Ana" and not enrolling.done() and time.monotonic() - started < 5
        other.execute("ROLLBACK")
        assert enrolling.result().status_code == 201
    other.close()


def test_its_description_tells_of_tokens_and_refusals(served: Start) -> None:
    told = served().get("/v1/openapi.json").json()
    assert told["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    identify, classify = (told["paths"][f"/v1/{name}"]["post"] for name in ("identify", "classify"))
    assert identify["security"] == [{"HTTPBearer": []}] and "security" not in classify
    assert {"401", "403", "413", "422", "429", "503", "504"} <= identify["responses"].keys()
    assert "401" not in classify["responses"]
    assert served().patch("/v1/identities/1", json={"nme": "x"}).status_code == 422
