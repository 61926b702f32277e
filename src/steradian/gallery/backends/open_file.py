"""Connect to a gallery's SQLite file, and notice when the file is no longer the one that was opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from steradian.errors import StorageError

State = tuple[int, ...]


def is_read_only(path: Path) -> bool:
    """Return whether an existing ``path`` or its folder cannot be written, as on a read-only volume."""
    return path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def beside(path: Path, ending: str) -> Path:
    """Return a file that SQLite keeps beside ``path`` while it is open; links are followed, as SQLite does.

    Its ``ending`` is -wal for the file of newest changes, -shm for the memory that processes share.
    """
    real = path.resolve()
    return real.with_name(f"{real.name}{ending}")


def connect(path: Path, read_only: bool, wait_seconds: float) -> sqlite3.Connection:
    """Open ``path``; where nothing can be written, without the files that SQLite otherwise needs beside it.

    With newest changes beside a read-only file, another process may be writing: then SQLite reads both, or says that it
    cannot.
    """
    mode = "rwc" if not read_only else "ro" if _size(beside(path, "-wal")) else "ro&immutable=1"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(address, timeout=wait_seconds, isolation_level=None, check_same_thread=False, uri=True)


class OpenFile:
    """The state of the file at ``path`` when it was opened.

    SQLite keeps using a file that was removed or replaced: what is then written is lost, without an error.
    """

    def __init__(self, path: Path, read_only: bool) -> None:
        self._path, self._read_only = path, read_only
        self._log, self._shared = beside(path, "-wal"), beside(path, "-shm")
        self._seen = self._now()

    def changed_beneath(self) -> bool:
        """Return whether a file that was opened as one that never changes has changed."""
        return self._read_only and self._now() != self._seen

    def check(self) -> None:
        """Raise `StorageError` if the file, or one that SQLite keeps beside it, was removed or replaced."""
        if not self._read_only and self._now() != self._seen:
            raise StorageError(
                f"{self._path} was removed or replaced while it was open, and nothing more is kept in it. Put it back, "
                "and start again."
            )

    def _now(self) -> tuple[State, ...]:
        file = _state(self._path, self._read_only)
        if not self._read_only:
            return file, _state(self._log, False), _state(self._shared, False)
        # Where nothing is written, an empty log is as good as none.
        return (file, _state(self._log, True)) if _size(self._log) else (file,)


def _state(path: Path, content: bool) -> State:
    """Return what tells one file from another, and for its ``content``, when it was changed."""
    try:
        found = path.stat()
    except OSError:
        return ()
    place = (found.st_dev, found.st_ino)
    return (*place, found.st_size, found.st_mtime_ns) if content else place


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
