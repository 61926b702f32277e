"""The bot against a local server that speaks Telegram's protocol."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from PIL import Image

from steradian import Recognizer
from steradian.gallery import Gallery

from .conftest import drawing, pixels

TOKEN, FRIEND, STRANGER = "123:abcdefghijklmnopqrstuvwxyzABCDEFGHI", 4711, 666


class Telegram(BaseHTTPRequestHandler):
    """Hands out queued updates once, serves files, and notes what the bot says."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        content = self.server.photos[self.path.rsplit("/", 1)[1]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        given = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        method = self.path.rsplit("/", 1)[1]
        result: object = True
        if TOKEN not in self.path:
            self._answer({"ok": False, "error_code": 401, "description": "Unauthorized"}, 401)
            return
        if method == "getMe":
            result = {"id": 1, "is_bot": True, "first_name": "bot", "username": "testbot"}
        elif method == "getUpdates":
            after = int(given.get("offset", 0))
            result = [one for one in self.server.updates if one["update_id"] >= after]
            if not result:
                time.sleep(0.05)
        elif method == "getFile":
            name = given["file_id"]
            result = {"file_id": name, "file_unique_id": name, "file_path": name}
        elif method == "sendMessage":
            self.server.said.append((int(given["chat_id"]), given["text"]))
            result = {"message_id": 1, "date": 0, "chat": {"id": int(given["chat_id"]), "type": "private"}}
        self._answer({"ok": True, "result": result})

    def _answer(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def telegram() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Telegram)
    server.updates, server.said, server.photos = [], [], {}
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def send(server: ThreadingHTTPServer, user: int, text: str | None = None, photo: bytes | None = None) -> str:
    """Say something to the bot; what it answers."""
    number, before = len(server.updates) + 1, len(server.said)
    message: dict[str, object] = {
        "message_id": number,
        "date": 0,
        "chat": {"id": user, "type": "private"},
        "from": {"id": user, "is_bot": False, "first_name": "somebody"},
    }
    if text is not None:
        length = len(text.split(" ")[0])
        message |= {"text": text, "entities": [{"type": "bot_command", "offset": 0, "length": length}]}
    if photo is not None:
        name = f"p{number}"
        server.photos[name] = photo
        size = {"file_id": name, "file_unique_id": name, "width": 60, "height": 60, "file_size": len(photo)}
        message["photo"] = [size]
    server.updates.append({"update_id": number, "message": message})
    deadline = time.monotonic() + 30
    while len(server.said) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    to, words = server.said[-1]
    assert to == user and len(server.said) == before + 1
    return str(words)


def test_photos_are_named_enrolled_and_recognized(telegram: ThreadingHTTPServer, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "steradian",
        "bot",
        "glyphs",
        "--allow",
        str(FRIEND),
        "--token",
        TOKEN,
        "--far",
        "0.01",
    ]
    words += ["--gallery", str(tmp_path / "g.db"), "--address", telegram.address]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "Send me a photo" in send(telegram, FRIEND, "/start")
        assert send(telegram, STRANGER, photo=drawing("ring")) == (
            f"I do not know you. Ask whoever runs this bot to allow your user id: {STRANGER}."
        )
        ranked = send(telegram, FRIEND, photo=drawing("ring"))
        top = Recognizer.load("glyphs").classify([pixels(drawing("ring"))])[0].ranking
        assert [line.partition(":")[0] for line in ranked.splitlines()][:5] == [label for label, _ in top]
        assert "One of these, in 95% of cases:" in ranked
        assert "1 to 256 characters" in send(telegram, FRIEND, "/enroll")
        assert "Now send photos of The Ring" in send(telegram, FRIEND, "/enroll The Ring")
        assert send(telegram, FRIEND, photo=drawing("ring")).startswith("The Ring has 1 photo(s) now.")
        assert "unlike the other images of 'The Ring'" in send(telegram, FRIEND, photo=drawing("cross"))
        assert send(telegram, FRIEND, "/done") == "The Ring is enrolled with 2 photo(s)."
        send(telegram, FRIEND, "/enroll Nobody")
        assert send(telegram, FRIEND, "/done") == "No photo of Nobody came, so Nobody is not enrolled."
        assert send(telegram, FRIEND, "/done") == "No enrollment was started: send /enroll NAME first."
        assert re.match(r"This is The Ring \(cosine 0\.9\d\)\.", send(telegram, FRIEND, photo=drawing("ring", 2)))
        assert send(telegram, FRIEND, photo=drawing("square")).startswith("Nobody enrolled is on this photo.")
        assert "That did not work: it is not a readable image" in send(telegram, FRIEND, photo=b"no image")
        large = io.BytesIO()
        Image.new("1", (9000, 9000)).save(large, "PNG")
        assert "over the limit of 50,000,000" in send(telegram, FRIEND, photo=large.getvalue())
        assert "nobody called 'X'" in send(telegram, FRIEND, "/forget X")
        assert send(telegram, STRANGER, "/forget The Ring").startswith("I do not know you.")
        assert send(telegram, FRIEND, "/forget The Ring") == "The Ring is no longer enrolled."
        with Gallery.open(tmp_path / "g.db") as gallery:
            assert len(gallery) == 0
    finally:
        running.terminate()
        _, said = running.communicate(timeout=60)
    assert "Traceback" not in said and TOKEN not in said


def test_a_wrong_token_is_said(telegram: ThreadingHTTPServer, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "steradian", "bot", "glyphs", "--allow", "1", "--token", "1:wrong"]
    done = subprocess.run([*words, "--address", telegram.address], capture_output=True, text=True, cwd=tmp_path)
    assert (
        done.returncode == 2 and "Telegram does not know this token" in done.stderr and "Traceback" not in done.stderr
    )
