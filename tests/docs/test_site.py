"""The pages make a site: every page is in its menu, and every link inside leads somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_is_built_without_a_complaint_and_asks_nobody_else(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    program = Path(sys.executable).with_name("zensical")
    built = subprocess.run([program, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0 and "No issues found" in built.stdout + built.stderr, built.stdout + built.stderr
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    listed = set(re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text()))
    assert listed == pages
    for page in sorted(pages):
        text = (tmp_path / "build" / "site" / page.replace(".md", ".html")).read_text(encoding="utf-8")
        asked = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="?(https?:[^" >]+)', text)
        assert [one for one in asked if "zensical.org" not in one] == [], page
