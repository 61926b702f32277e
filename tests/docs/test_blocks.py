"""Docs are code: every block of README and docs is run, in the order of its page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLASSIFIED = re.compile(r"^photos/([\w-]+)/\d+\.jpg\n  ([\w-]+) +[\d.]+%", re.MULTILINE)
"""What ``classify`` prints of a photograph of the sample: its folder, and the most probable class below."""

KNOWN = {"bash", "python", "", "yaml", "text", "nginx"}
"""Blocks in ``nginx`` are run by ``tests/service/test_behind_a_proxy.py``."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, programs: Path, tmp_path: Path) -> None:
    for needed in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / needed, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    # The programs of the tests are on the path already.
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    places = (programs, Path(sys.executable).parent, os.environ["PATH"])
    environment = {**os.environ, "PATH": os.pathsep.join(map(str, places))}
    for language, text in blocks(page):
        assert language in KNOWN, f"{page}: a block in {language!r} would not be run"
        if language == "python":
            shown = run([str(programs / "python"), "-c", text], tmp_path, environment)
        elif language == "bash":
            # make would install a second time inside the tests: that its targets exist is what is checked.
            script = re.sub(r"^make ", "make --dry-run ", text, flags=re.MULTILINE)
            shown = run(["bash", "-euc", script], tmp_path, environment)
        else:
            continue
        assert shown.returncode == 0, f"{page}\n{text}\n{shown.stdout}\n{shown.stderr}"
        for kind, answer in CLASSIFIED.findall(shown.stdout):
            assert answer == kind, f"{page}: the model that the page ends with takes a {kind} for a {answer}"


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page}: {target}"
