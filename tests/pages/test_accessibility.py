"""Reports and documentation pages break no rule of axe-core, in both themes and with everything unfolded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steradian.studies import compare
from steradian.studies.single_run import train
from steradian.training import Recipe

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
PAGES = ("index", "how-to/serve", "tutorial/first-comparison", "reference/losses", "reference/commands", "architecture")

pytestmark = [
    pytest.mark.page,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    train("digits", folder / "run", quiet=True)
    recipe = Recipe().changed(**{"training.epochs": 1})
    compare(recipe, losses=("softmax", "arcface"), out=folder / "compared", quiet=True, jobs=1)
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    program = Path(sys.executable).with_name("zensical")
    subprocess.run([program, "build"], cwd=folder, capture_output=True, check=True)
    site = {name: folder / "build" / "site" / f"{name}.html" for name in PAGES}
    return {"run": folder / "run" / "report.html", "compared": folder / "compared" / "report.html", **site}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "compared", *PAGES])
def test_no_rule_is_broken(browser: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme)
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    broken = [(one["id"], one["nodes"][0]["html"]) for one in Axe().run(page).response["violations"]]
    page.close()
    assert broken == []
