"""Check that many clients that enroll, query, rename and remove at once get no wrong answer, and that memory is stable.

    python benchmarks/recognition/mixed_load.py --minutes 30 --record benchmarks/recognition/mixed_load.json

Each client uses its own names, so it knows what the service must answer: the drawing that it enrolled is the nearest,
under its current name, and a removed identity is never returned again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageDraw

from steradian.training.resources import environment

KEPT = 12
"""Most identities that a client has enrolled at a time."""


def drawing(generator: random.Random) -> bytes:
    """Return a few random strokes as a PNG file."""
    image = Image.new("L", (60, 60), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(generator.randint(3, 6)):
        pen.line([(generator.randint(5, 55), generator.randint(5, 55)) for _ in range(3)], fill=0, width=3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Client(threading.Thread):
    """One client; it collects wrong answers in ``wrong``."""

    def __init__(self, address: str, number: int, until: float) -> None:
        super().__init__()
        self._address, self._number, self._until = address, number, until
        self._generator = random.Random(number)
        self._held: dict[str, tuple[int, bytes]] = {}
        self._gone: list[tuple[str, bytes]] = []
        self.wrong: list[str] = []
        self.counts: dict[str, int] = {}

    def run(self) -> None:
        with httpx.Client(base_url=self._address, timeout=60) as client:
            while time.monotonic() < self._until:
                kind = self._generator.choices(
                    ["enroll", "ask", "ask_gone", "rename", "remove", "broken"], [3, 10, 2, 1, 2, 1]
                )[0]
                self.counts[kind] = self.counts.get(kind, 0) + 1
                try:
                    getattr(self, f"_{kind}")(client)
                except (httpx.HTTPError, KeyError, IndexError) as error:
                    self.wrong.append(f"{kind}: {type(error).__name__} {error}")

    def _expect(self, answer: httpx.Response, status: int) -> None:
        if answer.status_code != status:
            self.wrong.append(f"{answer.request.url}: {answer.status_code} {answer.text[:200]}")

    def _enroll(self, client: httpx.Client) -> None:
        if len(self._held) >= KEPT:
            self._remove(client)
        name, content = f"{self._number}-{self._generator.getrandbits(48):x}", drawing(self._generator)
        response = client.post("/v1/identities", data={"name": name}, files={"file": ("a.png", content)})
        self._expect(response, 201)
        self._held[name] = response.json()["identity"]["id"], content

    def _nearest(self, client: httpx.Client, content: bytes) -> tuple[str | None, float]:
        response = client.post("/v1/identify?far=0.01", files={"file": ("a.png", content)})
        self._expect(response, 200)
        matches = response.json()["answers"][0]["matches"]
        return (matches[0]["label"], matches[0]["similarity"]) if matches else (None, 0.0)

    def _ask(self, client: httpx.Client) -> None:
        if not self._held:
            return
        name, (_, content) = self._generator.choice(list(self._held.items()))
        label, similarity = self._nearest(client, content)
        if label != name or similarity < 0.9999:
            self.wrong.append(f"expected {name}, but the answer is {label} at {similarity}")

    def _ask_gone(self, client: httpx.Client) -> None:
        if not self._gone:
            return
        name, content = self._generator.choice(self._gone[-50:])
        label, similarity = self._nearest(client, content)
        if label == name or similarity > 0.9999:
            self.wrong.append(f"{name} was removed, but the answer is {label} at {similarity}")

    def _rename(self, client: httpx.Client) -> None:
        if not self._held:
            return
        name = self._generator.choice(list(self._held))
        new = f"{self._number}-{self._generator.getrandbits(48):x}"
        self._expect(client.patch(f"/v1/identities/{self._held[name][0]}", json={"name": new}), 200)
        self._held[new] = self._held.pop(name)

    def _remove(self, client: httpx.Client) -> None:
        if not self._held:
            return
        name = self._generator.choice(list(self._held))
        number, content = self._held.pop(name)
        self._expect(client.delete(f"/v1/identities/{number}"), 204)
        self._gone.append((name, content))

    def _broken(self, client: httpx.Client) -> None:
        self._expect(client.post("/v1/embed", files={"file": ("a.png", drawing(self._generator)[:60])}), 422)


def resident(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["serve", "glyphs", "--gallery", f"{scratch}/g.db", "--port", "0", "--rate", "0", "--no-log"]
        server = subprocess.Popen([sys.executable, "-m", "steradian", *arguments], stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http://\S+", server.stdout.readline() if server.stdout else "")
            until, memory = time.monotonic() + 60 * args.minutes, []
            clients = [Client(address[0] if address else "", number, until) for number in range(args.clients)]
            for client in clients:
                client.start()
            while time.monotonic() < until:
                time.sleep(5)
                memory.append(resident(server.pid))
            for client in clients:
                client.join()
            pictures = len(list(Path(f"{scratch}/g.db.images").iterdir()))
            enrolled = sum(len(client._held) for client in clients)
        finally:
            server.terminate()
            server.wait()
    wrong = [message for client in clients for message in client.wrong]
    counts: dict[str, int] = {}
    for client in clients:
        for kind, count in client.counts.items():
            counts[kind] = counts.get(kind, 0) + count
    early, late = np.mean(memory[len(memory) // 6 : len(memory) // 3]), np.mean(memory[-len(memory) // 6 :])
    record = {
        **environment(),
        "cores": os.cpu_count(),
        "minutes": args.minutes,
        "clients": args.clients,
        "requests": counts,
        "wrong": len(wrong),
        "first_wrong": wrong[:5],
        "enrolled_at_the_end": enrolled,
        "pictures_at_the_end": pictures,
        "resident_mib": {"early": round(float(early), 1), "late": round(float(late), 1), "most": round(max(memory), 1)},
        "growth": round(float(late / early - 1), 4),
    }
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
