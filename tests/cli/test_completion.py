"""The tab key, as the scripts of bash and zsh ask for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CASES = {
    "steradian train dig": "digits",
    "steradian train --loss arcf": "arcface",
    "steradian compare digits --losses softmax,cosf": "softmax,cosface",
    "steradian classify gen": "general",
    "steradian export runs/x --to openv": "openvino",
    "steradian gallery ren": "rename",
    "steradian evaluate runs/x --protocol retr": "retrieval",
    "steradian enroll runs/x photos/ --gall": "--gallery",
    "steradian data fold": "folder/",
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("typed", CASES)
def test_what_is_typed_is_completed(typed: str, shell: str, tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    asked = {
        "bash": {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": typed},
    }[shell]
    environment = {**os.environ, **asked, "_STERADIAN_COMPLETE": f"complete_{shell}"}
    script = "from steradian.cli.main import app; app(prog_name='steradian')"
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert CASES[typed] in shown.stdout.replace('"', " ").replace(":", " ").split(), shown
