"""The reference pages say what the code has: they are written by ``python docs/reference/write.py``."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_reference_pages_are_those_that_the_code_writes() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "reference" / "write.py"))["pages"]()
    for name, text in written.items():
        page = ROOT / "docs" / "reference" / name
        assert page.read_text(encoding="utf-8") == text, f"{page} is stale: run python docs/reference/write.py"
