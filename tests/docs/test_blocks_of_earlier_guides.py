"""Docs are code: the guides of docs/how-to up to M."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocks import EARLIER_GUIDES, name_of, run_every_block


@pytest.mark.parametrize("page", EARLIER_GUIDES, ids=name_of)
def test_every_block_runs(page: Path, programs: Path, tmp_path: Path) -> None:
    run_every_block(page, programs, tmp_path)
