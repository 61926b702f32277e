"""The folder of files that can be recreated."""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of files that can be recreated: ``STERADIAN_CACHE``, else one in the user's cache.

    Where the user's cache cannot be written, it is a temporary folder, with a warning.
    """
    if configured := os.environ.get("STERADIAN_CACHE"):
        return Path(configured)
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "steradian"
    return folder if _can_write(folder) else _temporary_cache(folder)


@functools.cache
def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@functools.cache
def _temporary_cache(folder: Path) -> Path:
    temporary = Path(tempfile.mkdtemp(prefix="steradian-"))
    warnings.warn(
        f"{folder} cannot be written, so features are kept in {temporary}, until the system empties it. Set "
        "STERADIAN_CACHE to a folder of yours to keep them.",
        RuntimeWarning,
        stacklevel=3,
    )
    return temporary
