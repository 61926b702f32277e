"""The command line of this process, which every result records."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command_line() -> str:
    """Return what the user typed: the command, or the Python script that called this package."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program in ("steradian", "__main__.py"):
        return shlex.join(["steradian", *sys.argv[1:]])
    return f"from Python: {program}" if program.endswith(".py") else "from Python"
