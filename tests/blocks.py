"""Docs are code: every block of README and docs is run, in the order of its page; by `tests/docs/test_blocks*.py`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EARLIER_GUIDES = [page for page in PAGES if page.parent.name == "how-to" and page.name < "n"]
LATER_GUIDES = [page for page in PAGES if page.parent.name == "how-to" and page.name >= "n"]
OTHERS = [page for page in PAGES if page.parent.name != "how-to"]
"""All pages, in parts that take as long: the tests of one file run one after another."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLASSIFIED = re.compile(r"^photos/([\w-]+)/\d+\.jpg\n  ([\w-]+) +[\d.]+%", re.MULTILINE)
"""What ``classify`` prints of a photograph of the sample: its folder, and the most probable class below."""

KNOWN = {"bash", "python", "", "yaml", "text", "nginx"}
"""Blocks in ``nginx`` are run by ``tests/service/test_behind_a_proxy.py``."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_every_block(page: Path, programs: Path, tmp_path: Path) -> None:
    """Run the blocks of ``page`` in ``tmp_path``, with ``programs`` first on the path."""
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
