"""Hints on how to install optional parts: each is run, in the environment that it is printed in."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from steradian import extras
from steradian.errors import UsageError

ROOT = Path(__file__).parents[1]
NAMES = ("ann", "bot", "data", "faces", "fast", "heic", "milvus", "onnx", "serve", "track", "tune", "video", "weights")
UNTESTED = {"heic"}
"""Extras that developers need not install: tests say what happens without them."""


@pytest.mark.parametrize("name", NAMES)
def test_the_hint_is_a_command_that_works(name: str) -> None:
    assert extras.requirements(name), "the extra is one of those of the package"
    program, *words = shlex.split(extras.install(name))
    found = subprocess.run([program, *words, "--dry-run", "--quiet"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    if name not in UNTESTED:
        extras.require(name, "This test")


def test_all_is_every_extra_but_that_of_developers() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (everything,) = re.findall(r'^all = \["steradian\[(.*)\]"\]$', text, re.MULTILINE)
    assert tuple(everything.split(",")) == NAMES
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    assert set(re.findall(r"^(\w+) = \[", section, re.MULTILINE)) == {*NAMES, "all", "dev"}


def test_hints_name_an_extra_that_exists() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "pip install 'steradian[" not in text, f"{path}: works only where steradian is on an index"
        assert set(re.findall(r"\{install\('(\w+)'\)\}", text)) <= set(NAMES), path


def test_what_is_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "requirements", lambda extra: ["not-there-at-all>=3"])
    with pytest.raises(UsageError, match=r"^The service needs not-there-at-all: .* pip install .not-there-at-all>=3.$"):
        extras.require("serve", "The service")


def test_a_missing_extra_is_told_before_anything_slow() -> None:
    script = """
import sys
from steradian import extras
extras.requirements = lambda extra: ["not-there-at-all"]
from steradian.cli import main
sys.argv = ["steradian", *sys.argv[1:]]
try:
    main.main()
finally:
    print("torch" in sys.modules)
"""
    for words in (["serve", "--demo"], ["export", "glyphs"], ["embed", "glyphs", "digits", "--out", "x"]):
        shown = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
        assert shown.returncode == 2 and "needs not-there-at-all" in shown.stderr, shown.stderr
        assert shown.stdout.strip() == "False", words
