"""Docs are code: README, tutorials, explanations and reference; and all links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blocks import OTHERS, PAGES, name_of, run_every_block


@pytest.mark.parametrize("page", OTHERS, ids=name_of)
def test_every_block_runs(page: Path, programs: Path, tmp_path: Path) -> None:
    run_every_block(page, programs, tmp_path)


LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page}: {target}"
