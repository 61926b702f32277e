"""The report as a person sees it: opened in headless Chromium, offline, light and dark."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from steradian.studies import compare
from steradian.training import Recipe

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = [
    pytest.mark.page,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    recipe = Recipe().changed(**{"training.epochs": 1})
    compare(recipe, losses=("softmax", "arcface"), out=folder / "out", quiet=True, jobs=1)
    return folder / "out" / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_opens_without_errors_or_requests(report: Path, scheme: str, width: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        requests: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(report.as_uri())
        page.wait_for_selector("#spheres-3d .plot-container")
        assert not [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
        assert errors == []
        assert page.inner_text("h1") == "Techniques compared on digits"
        images = page.eval_on_selector_all("img", "all => all.map(i => [i.complete, i.naturalWidth, i.alt.length])")
        assert len(images) > 8 and all(done and words > 5 for done, _, words in images)
        page.select_option("select", "arcface")
        traces = page.evaluate("document.getElementById('spheres-3d').data.length")
        assert traces == 10 + 1 + 2
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        shown = page.eval_on_selector("img", "i => i.currentSrc.length")
        assert shown > 1000
        browser.close()
