"""Requests that would hold the service up: slow heads, many connections, small files that are large pictures."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable

import httpx
import pytest
import uvicorn
from PIL import Image

from steradian.service.app import build_app
from steradian.service.forms import with_plain_name
from steradian.service.limits import PixelBudget
from steradian.service.run import HeaderTimeout, listen

from .conftest import drawing

Start = Callable[..., httpx.Client]
ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def port_of(client: httpx.Client) -> int:
    return int(str(client.base_url).rstrip("/").rpartition(":")[2])


def connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.settimeout(20)
    return made


def ask(connection: socket.socket) -> None:
    connection.sendall(ASKED)
    answer = b""
    while not answer.endswith(b"ok"):
        answer += connection.recv(65536)
    assert b"200 OK" in answer


def is_closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_half_a_head_is_not_waited_for(served: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steradian.service.run.HEADER_SECONDS", 0.5)
    port = port_of(served())
    with connected(port) as silent, connected(port) as first, connected(port) as second, connected(port) as working:
        first.sendall(b"GET /hea")
        ask(second)
        second.sendall(b"GET /hea")
        time.sleep(0.2)
        # Further bytes give no further time.
        second.sendall(b"l")
        for _ in range(4):
            ask(working)
            time.sleep(0.25)
        assert all(is_closed(one) for one in (silent, first, second))
        ask(working)


def test_one_client_does_not_hold_every_connection(glyphs) -> None:
    place = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        build_app(glyphs), http=HeaderTimeout, log_level="warning", limit_concurrency=8, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    held: list[socket.socket] = []
    try:
        while not server.started:
            time.sleep(0.01)
        port = place.getsockname()[1]
        for _ in range(4):
            held.append(connected(port))
            ask(held[-1])
        with connected(port) as fifth:
            assert b"503" in fifth.recv(65536) and is_closed(fifth)
        held.pop().close()
        time.sleep(0.2)
        with connected(port) as again:
            ask(again)
    finally:
        for one in held:
            one.close()
        server.should_exit = True
        thread.join()
        place.close()


def test_large_pictures_wait_for_each_other() -> None:
    budget, most, now, lock = PixelBudget(100), 0, 0, threading.Lock()

    def decode(pixels: int) -> None:
        nonlocal most, now
        with budget.of(pixels):
            with lock:
                now += min(pixels, 100)
                most = max(most, now)
            time.sleep(0.01)
            with lock:
                now -= min(pixels, 100)

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in (60, 50, 30, 500, 20, 90) * 3]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert 50 < most <= 100 and not any(one.is_alive() for one in threads)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("form-data; name=\"file\"; filename*=UTF-8''caf%C3%A9.png", "café.png"),
        ('form-data; name="file"; filename="x.png"; filename*=utf-8\'en\'caf%C3%A9.png', "café.png"),
        ("form-data; name=\"file\"; filename*=ISO-8859-1''caf%E9.png", "café.png"),
        ("form-data; name=\"file\"; filename*=UTF-8''a%22b%5C.png", 'a"b\\.png'),
        ("form-data; name=\"file\"; filename*=klingon''caf%C3%A9.png", "café.png"),
    ],
)
def test_a_file_whose_name_is_spelled_in_another_way(served: Start, header: str, name: str) -> None:
    body = b"--x\r\nContent-Disposition: %b\r\n\r\n%b\r\n--x--\r\n" % (header.encode(), drawing("ring"))
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = served().post("/v1/embed", content=body, headers=kind)
    assert answer.status_code == 200 and answer.json()["images"] == [name]


def test_a_broken_form_is_told_as_one(served: Start) -> None:
    kind = {"Content-Type": "multipart/form-data"}
    answer = served().post("/v1/embed", content=b"no form", headers=kind)
    assert answer.status_code == 400 and "form cannot be read" in answer.json()["detail"]
    assert with_plain_name(b"form-data; name=x") == b"form-data; name=x"


def test_a_small_file_of_a_large_picture(served: Start) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (3000, 3000), (0, 0, 0, 0)).save(buffer, "PNG")
    white, plain = io.BytesIO(), Image.new("RGB", (3000, 3000), "white")
    plain.save(white, "PNG")
    sent = [("file", ("a.png", buffer.getvalue())), ("file", ("b.png", white.getvalue()))]
    first, second = served().post("/v1/embed", files=sent).json()["vectors"]
    assert first == second, "in strips it is blended with white as at once"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scans.jpg", "501 scans, over the limit"),
        ("tiles.tif", "more memory than is allowed"),
        ("large.jp2", "more memory than is allowed"),
        ("large.webp", "more memory than is allowed"),
        ("large.qoi", "slow to decode"),
        ("large.ppm", "slow to decode"),
    ],
)
def test_small_files_that_take_long_or_much(served: Start, name: str, said: str) -> None:
    content, buffer = b"", io.BytesIO()
    if name == "scans.jpg":
        Image.new("L", (64, 64)).save(buffer, "JPEG", progressive=True)
        start, end = buffer.getvalue().rfind(b"\xff\xda"), buffer.getvalue().rfind(b"\xff\xd9")
        whole = buffer.getvalue()
        content = whole[:start] + whole[start:end] * (501 - whole[:start].count(b"\xff\xda")) + whole[end:]
    elif name == "tiles.tif":
        entries = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (322, 46_000), (323, 46_000)]
        entries += [(324, 8), (325, 8)]
        tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4)
    elif name == "large.ppm":
        content = b"P5 3000 3000 254\n" + bytes(3000 * 3000)
    elif name == "large.qoi":
        run = b"\xfd" * (3000 * 3000 // 62 + 1)
        content = b"qoif" + struct.pack(">IIBB", 3000, 3000, 3, 0) + b"\xfe\0\0\0" + run + bytes(7) + b"\1"
    else:
        # The size is in the header, and no pixel is read.
        Image.new("RGB", (16, 16)).save(buffer, "JPEG2000" if name == "large.jp2" else "WEBP", lossless=True)
        content = larger(buffer.getvalue(), name)
    answer = served().post("/v1/embed", files=[("file", (name, content))])
    assert answer.status_code == 422 and said in answer.json()["detail"], answer.json()


def larger(content: bytes, name: str) -> bytes:
    """The same file whose header claims 7,000 x 7,000 pixels."""
    if name == "large.jp2":
        old = struct.pack(">II", 16, 16)
        return content.replace(old, struct.pack(">II", 7000, 7000))
    place = content.index(b"VP8L") + 9
    return content[:place] + struct.pack("<I", 6999 | 6999 << 14) + content[place + 4 :]


def test_who_does_not_read_an_answer_is_not_waited_for(served: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steradian.service.run.SEND_SECONDS", 0.5)
    client = served()
    size = len(client.get("/plotly.js").content)
    assert size > 2**20
    held = []
    for _ in range(5):
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", port_of(client)))
        slow.sendall(b"GET /plotly.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held.append(slow)
    time.sleep(2)
    assert client.get("/healthz").status_code == 200
    for one in held:
        one.settimeout(20)
        read = 0
        with contextlib.suppress(ConnectionError):
            while part := one.recv(2**20):
                read += len(part)
        assert read < size, "the rest was given up"
        one.close()


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "undefined", "idna"])
def test_odd_encodings_of_names_are_no_error(encoding: str) -> None:
    shown = with_plain_name(f"form-data; name=\"file\"; filename*={encoding}''%5Cud800%2B2AA-".encode())
    assert b'filename="' in shown.rpartition(b";")[2]


def test_what_is_wrong_with_a_form_is_told(served: Start) -> None:
    client = served()
    other = client.post("/v1/embed", files=[("image", ("a.png", drawing("ring")))]).json()["detail"]
    assert "no field 'file'; it has 'image'" in other
    empty = client.post("/v1/embed", content=b"--x--\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert "empty, or was cut off" in empty.json()["detail"]
    broken = client.patch("/v1/identities/1", content=b"{", headers={"Content-Type": "application/json"})
    assert "The body is not JSON" in broken.json()["detail"]
