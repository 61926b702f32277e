"""Name the command that installs an optional part, in the environment that runs: a checkout or an installed wheel."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path

from steradian.errors import UsageError

REQUIREMENT = re.compile(r"^(?P<what>(?P<name>[\w.-]+)[^;]*?)\s*;.*extra == ['\"](?P<extra>[\w-]+)['\"]")


def requirements(extra: str) -> list[str]:
    """Return what the extra consists of, such as ``uvicorn>=0.30``; empty where nothing is known of it."""
    try:
        listed = metadata.requires("steradian") or []
    except metadata.PackageNotFoundError:
        return []
    matches = (REQUIREMENT.match(one) for one in listed)
    return [match["what"].strip() for match in matches if match is not None and match["extra"] == extra]


def install(extra: str) -> str:
    """Return the command that installs an extra for the Python that runs.

    It names the packages and not ``steradian[extra]``, so that it works wherever steradian itself came from.
    """
    packages = requirements(extra) or [f"steradian[{extra}]"]
    return pip_install(*packages)


def pip_install(*packages: str) -> str:
    """Return the command that installs packages for the Python that runs."""
    return shlex.join([_python(), "-m", "pip", "install", *packages])


def require(extra: str, purpose: str) -> None:
    """Raise `UsageError` if a package of the extra is missing: before anything slow begins.

    Args:
        purpose: what needs it, the subject of the sentence.
    """
    for package in requirements(extra):
        name = re.split(r"[^\w.-]", package, maxsplit=1)[0]
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise UsageError(f"{purpose} needs {name}: {install(extra)}") from error


def _python() -> str:
    """Return how a user would call this Python from the current folder."""
    running = Path(sys.executable)
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent == running.parent:
        return "python"
    try:
        return str(running.relative_to(Path.cwd()))
    except ValueError:
        return str(running)
