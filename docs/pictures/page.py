"""Draw docs/pictures/page.png and page-explore.png in Debian's Chromium: python docs/pictures/page.py"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"]

Points = list[tuple[float, float]]


def symbol(kind: str, turn: float) -> list[Points]:
    """Return the strokes of a symbol as fractions of the canvas, from its center, rotated by ``turn`` radians."""

    def rotated(points: Points) -> Points:
        sine, cosine = math.sin(turn), math.cos(turn)
        return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]

    angles = [2 * math.pi * step / 36 for step in range(37)]
    ring = [(0.28 * math.cos(a), 0.28 * math.sin(a)) for a in angles]
    strokes: dict[str, list[Points]] = {
        "key": [
            [(0.16 * math.cos(a), 0.16 * math.sin(a) - 0.18) for a in angles],
            [(0, -0.02), (0, 0.34), (0.12, 0.34)],
        ],
        "gate": [[(-0.25, 0.3), (-0.25, -0.3), (0.25, -0.3), (0.25, 0.3)], [(-0.25, 0), (0.25, 0)]],
        "wheel": [ring, [(-0.28, 0), (0.28, 0)], [(0, -0.28), (0, 0.28)]],
        "fish": [[(0.3, -0.15), (-0.1, 0.15), (-0.3, 0), (-0.1, -0.15), (0.3, 0.15)]],
    }
    return [rotated(stroke) for stroke in strokes[kind]]


def draw(page: Any, kind: str, turn: float = 0.0) -> None:
    box = page.locator("#canvas").bounding_box()
    for stroke in symbol(kind, turn):
        points = [(box["x"] + (0.5 + x) * box["width"], box["y"] + (0.5 + y) * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=2)
        page.mouse.up()


def ask(page: Any) -> None:
    before = page.locator(".verdict").count()
    page.click("#ask-drawing")
    page.locator(".verdict").nth(before).wait_for()


def enroll(page: Any, kind: str) -> None:
    """Enroll the last drawing as ``kind``, whatever the answer was."""
    naming = page.locator("article").first.locator(".naming")
    right = naming.get_by_role("button", name=f"Yes, add to {kind}", exact=True)
    if right.count():
        right.click()
    else:
        if not naming.locator("input").count():
            naming.get_by_role("button", name="No, it is …").click()
        naming.locator("input").fill(kind)
        naming.locator("form button").click()
    page.wait_for_selector("#notice.good")


def main() -> None:
    command = [sys.executable, "-m", "steradian", "serve", "--demo", "--port", "0", "--no-log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        address = re.search(r"http://\S+", server.stdout.readline() if server.stdout else "")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1100, "height": 760}, color_scheme="light")
        page.goto(address[0] if address else "")
        page.wait_for_selector("#drawing:not([hidden])")
        for kind in ("key", "gate", "wheel"):
            draw(page, kind)
            ask(page)
            enroll(page, kind)
        draw(page, "fish")
        ask(page)
        draw(page, "key", 0.12)
        ask(page)
        draw(page, "wheel", 0.1)
        page.evaluate("() => { document.getElementById('notice').hidden = true; }")
        page.wait_for_timeout(500)
        page.screenshot(path=HERE / "page.png")
        for turn in (-0.15, 0.1, 0.2):
            for kind in ("key", "gate", "wheel"):
                page.click("#clear")
                draw(page, kind, turn)
                ask(page)
                enroll(page, kind)
        page.click("#tab-explore")
        page.wait_for_selector("#map .plot-container")
        page.wait_for_timeout(2000)
        page.evaluate("() => { document.getElementById('notice').hidden = true; }")
        page.screenshot(path=HERE / "page-explore.png")
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main()
