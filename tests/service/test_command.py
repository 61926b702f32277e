"""``steradian serve`` as a process: two on one gallery, told to stop, and killed."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from steradian.gallery.backends.sqlite import SqliteBackend

from .conftest import drawing, files


@contextlib.contextmanager
def process(programs: Path, *words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A running service and a client of it."""
    started = subprocess.Popen(
        [programs / "python", "-m", "steradian", "serve", *words, "--port", "0", "--rate", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        line = started.stdout.readline() if started.stdout is not None else ""
        address = re.search(r"http://\S+", line)
        if address is None:
            raise AssertionError(started.communicate()[1])
        with httpx.Client(base_url=address[0], timeout=60) as client:
            yield started, client
    finally:
        started.kill()
        started.communicate()


def test_two_on_one_gallery_see_each_other_and_a_token_opens_them(programs: Path, tmp_path: Path) -> None:
    words = (programs, "glyphs", "--gallery", str(tmp_path / "g.db"))
    with process(*words, STERADIAN_TOKEN="a-long-token") as (_, first), process(*words) as (_, second):
        sent = {"data": {"name": "Ana"}, "files": files(drawing("ring"))}
        assert first.post("/v1/identities", **sent).status_code == 401
        allowed = {"Authorization": "Bearer a-long-token"}
        assert first.post("/v1/identities", **sent, headers=allowed).status_code == 201
        told = second.post("/v1/identify?far=0.01", files=files(drawing("ring", 2))).json()
        assert told["answers"][0]["label"] == "Ana"
        number = told["answers"][0]["matches"][0]["identity"]
        assert second.delete(f"/v1/identities/{number}").status_code == 204
        gone = first.post("/v1/identify", files=files(drawing("ring")), headers=allowed).json()
        assert gone["answers"][0]["decision"] == "unknown"


def test_what_was_accepted_is_answered_before_it_ends(programs: Path, tmp_path: Path) -> None:
    with process(programs, "glyphs", "--gallery", str(tmp_path / "g.db")) as (running, client):
        statuses: list[int] = []

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, timeout=60) as own:
                statuses.append(own.post("/v1/embed", files=files(*[drawing("ring")] * 30)).status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while not statuses and time.monotonic() < deadline:
            time.sleep(0.002)
        running.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        _, said = running.communicate(timeout=60)
        assert statuses == [200] * 8 and running.returncode == 0
        assert "Stopped; all accepted requests were answered." in said and "Traceback" not in said


def test_nothing_acknowledged_is_lost_when_it_is_killed(programs: Path, tmp_path: Path) -> None:
    """More by STERADIAN_KILLS."""
    generator = random.Random(int(os.environ.get("STERADIAN_KILL_SEED", "0")))
    path, acknowledged = tmp_path / "g.db", 0
    for turn in range(max(2, int(os.environ.get("STERADIAN_KILLS", "6")) // 3)):
        with process(programs, "glyphs", "--gallery", str(path), "--no-log") as (running, client):
            killer = threading.Timer(generator.uniform(0.05, 1.0), running.kill)
            killer.start()
            with contextlib.suppress(httpx.HTTPError):
                for place in range(10_000):
                    sent = files(drawing("ring"), drawing("cross"))
                    told = client.post("/v1/identities", data={"name": f"{turn}-{place}"}, files=sent)
                    acknowledged += told.status_code == 201
            killer.join()
        store = SqliteBackend(path)
        found = [one for _, one in store.identities()]
        sources = [source for _, source in store.sources().values()]
        store.close()
        assert acknowledged <= len(found) <= acknowledged + turn + 1
        assert all(one.images == 2 for one in found) and all(Path(source).is_file() for source in sources)
    assert acknowledged > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Name the RUN to serve, or --demo"),
        (("glyphs", "--demo"), "Name the RUN to serve, or --demo"),
        (("glyphs",), "Name one with --gallery FILE"),
        (("glyphs", "--gallery", "g.db", "--host", "0.0.0.0"), "open to others"),
        (("glyphs", "--gallery", "g.db", "--host", "203.0.113.1", "--token", "long-enough"), "choose another --port"),
        (("glyphs", "--gallery", "g.db", "--runtime", "gpu"), "Unknown runtime 'gpu'"),
        (("nowhere", "--gallery", "g.db"), "'nowhere' does not exist"),
    ],
)
def test_what_cannot_be_served_is_said(command, words: tuple[str, ...], said: str) -> None:
    code, _, err = command("serve", *words)
    assert code in (1, 2) and said in err and "Traceback" not in err
