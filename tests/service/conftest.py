"""A service on a port of its own, and drawings to ask it about."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image, ImageDraw

from steradian import Recognizer
from steradian.gallery import Gallery
from steradian.service.app import build_app
from steradian.service.run import HeaderTimeout, listen


def drawing(kind: str, shift: int = 0) -> bytes:
    """A ring, a cross or a square as a PNG file."""
    image = Image.new("L", (60, 60), 255)
    pen, box = ImageDraw.Draw(image), (12 + shift, 12, 46 + shift, 46)
    if kind == "ring":
        pen.ellipse(box, outline=0, width=3)
    elif kind == "cross":
        pen.line([box[:2], box[2:]], fill=0, width=3)
        pen.line([(box[0], box[3]), (box[2], box[1])], fill=0, width=3)
    else:
        pen.rectangle(box, outline=0, width=3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """As a browser sends them."""
    return [("file", (f"{place}.png", content)) for place, content in enumerate(contents)]


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """``app`` behind a real socket, and a client of it."""
    place = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=HeaderTimeout,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{place.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        place.close()


@pytest.fixture(scope="session")
def glyphs() -> Recognizer:
    return Recognizer.load("glyphs")


@pytest.fixture
def gallery(tmp_path: Path, glyphs: Recognizer) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "symbols.db", glyphs) as opened:
        yield opened


@pytest.fixture
def served(gallery: Gallery, glyphs: Recognizer) -> Iterator[Callable[..., httpx.Client]]:
    """Start a service of the test's gallery with options of `build_app`."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> httpx.Client:
            return stack.enter_context(serving(build_app(glyphs, gallery, far=0.01, **options)))

        yield start
