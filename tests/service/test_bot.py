"""The bot against a local server that speaks Telegram's protocol."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageFilter, ImageOps
from telegram.error import TelegramError

from steradian import Recognizer
from steradian.errors import DataError
from steradian.gallery import Gallery
from steradian.service.bot import Bot, Reply, _send

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
        method = self.path.rsplit("/", 1)[1]
        given = (
            self._parts(body)
            if method == "sendPhoto"
            else {name: one[0] for name, one in parse_qs(body.decode()).items()}
        )
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
        elif method in ("sendMessage", "sendPhoto"):
            self.server.said.append((int(given["chat_id"]), given["text" if method == "sendMessage" else "caption"]))
            result = {"message_id": 1, "date": 0, "chat": {"id": int(given["chat_id"]), "type": "private"}}
        self._answer({"ok": True, "result": result})

    def _parts(self, body: bytes) -> dict[str, str]:
        """Return the fields of a request with a picture, which is kept."""
        kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields: dict[str, str] = {}
        for part in message_from_bytes(kind + body).get_payload():
            content = part.get_payload(decode=True)
            if part.get_filename():
                self.server.pictures.append(content)
            else:
                fields[str(part.get_param("name", header="content-disposition"))] = content.decode()
        return fields

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
    server.updates, server.said, server.photos, server.pictures = [], [], {}, []
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def post(
    server: ThreadingHTTPServer,
    user: int,
    text: str | None = None,
    photo: bytes | None = None,
    chat: int | None = None,
    **extra: object,
) -> None:
    """Say something to the bot, in private or in the group ``chat``."""
    number = len(server.updates) + 1
    message: dict[str, object] = {
        "message_id": number,
        "date": 0,
        "chat": {"id": chat or user, "type": "private" if chat is None else "supergroup", "title": "all"},
        "from": {"id": user, "is_bot": False, "first_name": "somebody"},
    }
    if text is not None:
        length = len(text.split(" ")[0])
        kinds = [{"type": "bot_command", "offset": 0, "length": length}] if text.startswith("/") else []
        message |= {"text": text, "entities": kinds}
    if photo is not None:
        name = f"p{number}"
        server.photos[name] = photo
        size = {"file_id": name, "file_unique_id": name, "width": 60, "height": 60, "file_size": len(photo)}
        message["photo"] = [size]
    server.updates.append({"update_id": number, "message": {**message, **extra}})


def send(server: ThreadingHTTPServer, user: int, *what: object, chat: int | None = None, **more: object) -> str:
    """Say something to the bot; what it answers."""
    before = len(server.said)
    post(server, user, *what, chat=chat, **more)
    deadline = time.monotonic() + 30
    while len(server.said) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    to, words = server.said[-1]
    assert to == (chat or user) and len(server.said) == before + 1
    return str(words)


@pytest.fixture
def bot(telegram: ThreadingHTTPServer, programs: Path, tmp_path: Path) -> Iterator[Path]:
    """A running bot for one friend; the path of its gallery, which holds a square."""
    path = tmp_path / "g.db"
    with Gallery.open(path, "glyphs") as gallery:
        gallery.enroll("The Square", [pixels(drawing("square"))])
    words = [programs / "python", "-m", "steradian", "bot", "glyphs", "--allow", str(FRIEND), "--token", TOKEN]
    words += ["--far", "0.01", "--gallery", str(path), "--address", telegram.address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert "Send me a photo" in send(telegram, FRIEND, "/start")
            yield path
        finally:
            running.terminate()


def images(path: Path) -> dict[str, int]:
    with Gallery.open(path) as gallery:
        return {one.name: one.images for one in gallery.identities()}


GROUP = -100


def test_an_enrollment_belongs_to_its_chat(telegram: ThreadingHTTPServer, bot: Path) -> None:
    send(telegram, FRIEND, "/enroll Ana")
    send(telegram, FRIEND, photo=drawing("ring"))
    assert send(telegram, FRIEND, photo=drawing("square", 2), chat=GROUP).startswith("This is The Square")
    assert "No enrollment was started here" in send(telegram, FRIEND, "/done", chat=GROUP)
    assert send(telegram, FRIEND, "/done") == "Ana is enrolled with 1 photo(s)."
    assert images(bot) == {"Ana": 1, "The Square": 1}


def test_captions_enroll_a_photo_or_an_album(telegram: ThreadingHTTPServer, bot: Path) -> None:
    assert send(telegram, FRIEND, photo=drawing("ring"), caption="/enroll The Ring").startswith("The Ring has 1")
    assert send(telegram, FRIEND, photo=drawing("ring", 2)).startswith("This is The Ring")
    album = {"media_group_id": "7"}
    assert "Ana has 1" in send(telegram, FRIEND, photo=drawing("cross"), caption="/enroll@testbot Ana", **album)
    assert "Ana has 2" in send(telegram, FRIEND, photo=drawing("cross", 2), **album)
    assert "Two Words has 1" in send(telegram, FRIEND, photo=drawing("cross", 4), caption="/Enroll\nTwo  Words")
    assert "no longer enrolled" in send(telegram, FRIEND, "/forget Two Words")
    assert send(telegram, FRIEND, photo=drawing("cross"), caption="/enroll") == "Say who it is: /enroll NAME."
    assert "message of its own" in send(telegram, FRIEND, photo=drawing("cross"), caption="/done")
    assert send(telegram, FRIEND, photo=drawing("ring", 1), chat=GROUP, caption="/enroll@other Ana").startswith("This")
    assert send(telegram, FRIEND, photo=drawing("ring", 1), caption="hello").startswith("This is The Ring")
    assert images(bot) == {"Ana": 2, "The Ring": 1, "The Square": 1}


def test_a_group_hears_answers_to_friends_alone(telegram: ThreadingHTTPServer, bot: Path) -> None:
    for _ in range(3):
        post(telegram, STRANGER, photo=drawing("square"), chat=GROUP)
    post(telegram, STRANGER, "/enroll Me", chat=GROUP)
    post(telegram, FRIEND, "how are you?", chat=GROUP)
    post(telegram, FRIEND, "/start@another_bot", chat=GROUP)
    post(telegram, FRIEND, "/weather", chat=GROUP)
    note = {"file_id": "n", "file_unique_id": "n", "file_name": "a.pdf", "mime_type": "application/pdf"}
    post(telegram, FRIEND, chat=GROUP, document=note)
    assert "Send me a photo" in send(telegram, FRIEND, "/help", chat=GROUP), "the first answer"
    assert send(telegram, FRIEND, photo=drawing("square", 1), chat=GROUP).startswith("This is The Square")
    assert "no command that I know" in send(telegram, FRIEND, "/what@testbot", chat=GROUP)


def test_friends_always_get_an_answer_without_paths(telegram: ThreadingHTTPServer, bot: Path) -> None:
    assert "no command that I know" in send(telegram, FRIEND, "hello")
    for words in ("/what", "/foo@otherbot", "@anna look", "me@example.com is my address"):
        assert "no command that I know" in send(telegram, FRIEND, words)
    post(telegram, FRIEND, photo=drawing("square"), caption="/enroll Twice")
    sent = telegram.updates[-1]["message"]
    while not any("Twice has 1" in words for _, words in telegram.said):
        time.sleep(0.01)
    telegram.updates.append({"update_id": len(telegram.updates) + 1, "edited_message": {**sent, "edit_date": 1}})
    while not any("Send it again" in words for _, words in telegram.said):
        time.sleep(0.01)
    assert images(bot) == {"The Square": 1, "Twice": 1}
    assert send(telegram, FRIEND, "/enroll") == "Say who it is: /enroll NAME."
    assert send(telegram, FRIEND, "/forget") == "Say who: /forget NAME."
    assert send(telegram, FRIEND, "/forget Nobody") == (
        "That did not work: nobody called 'Nobody' is enrolled in the gallery."
    )
    telegram.photos["text"] = b"no image"
    note = {"file_id": "text", "file_unique_id": "text", "file_name": "a.txt", "mime_type": "text/plain"}
    assert "not a readable image" in send(telegram, FRIEND, document=note)
    assert "no command that I know" in send(telegram, FRIEND, location={"latitude": 1, "longitude": 1})
    bot.unlink()
    said = send(telegram, FRIEND, photo=drawing("square"), caption="/enroll Late")
    assert "cannot be used now" in said and str(bot) not in said


def test_photos_are_named_enrolled_and_recognized(
    telegram: ThreadingHTTPServer, programs: Path, tmp_path: Path
) -> None:
    words = [
        programs / "python",
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
        assert "The true class is in such a list 95% of the time." in ranked
        assert "Now send photos of The Ring" in send(telegram, FRIEND, "/enroll The Ring")
        assert send(telegram, FRIEND, photo=drawing("ring")).startswith("The Ring has 1 photo(s) now.")
        assert "unlike the other images of 'The Ring'" in send(telegram, FRIEND, photo=drawing("cross"))
        assert send(telegram, FRIEND, "/done") == "The Ring is enrolled with 2 photo(s)."
        send(telegram, FRIEND, "/enroll Nobody")
        assert send(telegram, FRIEND, "/done") == "No photo of Nobody came, so Nobody is not enrolled."
        assert send(telegram, FRIEND, "/done") == "No enrollment was started here: send /enroll NAME first."
        assert re.match(
            r"This is The Ring \(cosine (0\.9\d|1\.00)\)\.", send(telegram, FRIEND, photo=drawing("ring", 2))
        )
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


def test_a_wrong_token_is_said(telegram: ThreadingHTTPServer, programs: Path, tmp_path: Path) -> None:
    words = [programs / "python", "-m", "steradian", "bot", "glyphs", "--allow", "1", "--token", "1:wrong"]
    done = subprocess.run([*words, "--address", telegram.address], capture_output=True, text=True, cwd=tmp_path)
    assert (
        done.returncode == 2 and "Telegram does not know this token" in done.stderr and "Traceback" not in done.stderr
    )


def test_a_photo_of_two_faces_gets_a_line_for_each(tmp_path: Path) -> None:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB")
    both = Image.fromarray(np.hstack([np.asarray(portrait), np.asarray(ImageOps.mirror(portrait))]))
    model = Recognizer.load("faces")

    def png(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    assert "needs a gallery" in Bot(model, None, {FRIEND})._answer(png(both), None).text
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        bot = Bot(model, gallery, {FRIEND})
        assert bot._answer(png(portrait), "Grace").text.startswith("Grace has 1 photo")
        with pytest.raises(DataError, match="there are 2 on this photo, and which is Grace"):
            bot._answer(png(both), "Grace")
        blurred = portrait.filter(ImageFilter.GaussianBlur(9))
        with pytest.raises(DataError, match="it is blurred, covered or too small"):
            bot._answer(png(blurred), "Grace")
        answer = bot._answer(png(both), None)
        first, left, right = answer.text.splitlines()
        assert first == "From the left to the right:" and left.startswith("1: Grace (cosine ")
        assert right == "2: like Grace, who is another one here"
        assert answer.picture is not None and Image.open(io.BytesIO(answer.picture)).width > 800
        nothing = bot._answer(png(Image.new("RGB", (200, 200), "gray")), None)
        assert (nothing.text, nothing.picture) == ("Nothing was found on this photo.", None)


def test_words_are_sent_where_the_picture_is_refused_or_they_do_not_fit_below_it() -> None:
    class Said:
        def __init__(self, refuses: bool) -> None:
            self.refuses, self.said = refuses, []

        async def reply_photo(self, picture: bytes, caption: str | None) -> None:
            if self.refuses:
                raise TelegramError("Photo_invalid_dimensions")
            self.said.append((picture, caption))

        async def reply_text(self, words: str) -> None:
            self.said.append(words)

    for refuses, words, expected in (
        (False, "1: Ada", [(b"png", "1: Ada")]),
        (True, "1: Ada", ["1: Ada"]),
        (False, 1000 * "😀", [(b"png", None), 1000 * "😀"]),
    ):
        message = Said(refuses)
        asyncio.run(_send(message, Reply(words, b"png")))
        assert message.said == expected


def test_a_marked_picture_is_sent_with_its_words(telegram: ThreadingHTTPServer, tmp_path: Path) -> None:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = file.read()
    with Gallery.open(tmp_path / "g.db", "faces") as gallery:
        gallery.enroll("Grace", [Image.open(io.BytesIO(portrait)).convert("RGB")])
    words = [sys.executable, "-m", "steradian", "bot", "faces", "--allow", str(FRIEND), "--token", TOKEN]
    words += ["--gallery", str(tmp_path / "g.db"), "--address", telegram.address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert "1: Grace" in send(telegram, FRIEND, photo=portrait)
        finally:
            running.terminate()
    (sent,) = telegram.pictures
    assert Image.open(io.BytesIO(sent)).size[0] > 800
