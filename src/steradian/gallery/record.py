"""One SQLite file that survives kill -9: how it is opened, changed and read.

Every change is one transaction, synced to the disk before it is acknowledged (write-ahead log, synchronous = FULL).
Many processes may read while one writes; a second writer waits.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from steradian.errors import InputError, StorageError

APPLICATION, VERSION = 0x53545244, 1
WAIT_SECONDS, BUSY_SECONDS = 10.0, 0.05
"""How long a change waits for other processes, and at a time without letting this one's questions through."""
MOST_DIMENSIONS = 65_536
LITTLE = 2**20
"""Bytes of room without which SQLite cannot work."""

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE identities (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL, changed TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT, identity INTEGER NOT NULL REFERENCES identities (id),
    vector BLOB NOT NULL, source TEXT NOT NULL, created TEXT NOT NULL
);
CREATE INDEX images_of ON images (identity);
"""


class Record:
    """One gallery file.

    Args:
        path: created where it does not exist and ``model`` is given.
        model: id of the model whose vectors it holds; None: whichever it is.
        dimensions: D, with ``model``.

    Raises:
        StorageError: not a gallery, damaged, of a newer version, of another model, or not to be written.
    """

    def __init__(self, path: Path, model: str | None = None, dimensions: int | None = None) -> None:
        self.path = self.beside = path
        self._lock = threading.RLock()
        self.model: str | None = None
        self.dimensions = 0
        if model is None and not path.is_file():
            raise StorageError(f"There is no gallery {path}. Enroll somebody first: steradian enroll RUN FOLDER.")
        with self._told():
            self._connection = sqlite3.connect(
                path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
            # SQLite's own lower() leaves all but ASCII letters as they are.
            self._connection.create_function("folded", 1, str.casefold, deterministic=True)
            self._open(model, dimensions)

    def _open(self, model: str | None, dimensions: int | None) -> None:
        run = self._connection.execute
        found = run("PRAGMA application_id").fetchone()[0]
        if found == 0 and model is not None:
            if not 1 <= (dimensions or 0) <= MOST_DIMENSIONS:
                raise InputError(f"vectors have 1 to {MOST_DIMENSIONS} dimensions, not {dimensions}.")
            # Another process may be making the same gallery: what counts is what is there under the lock.
            with self.change():
                empty = run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
                if run("PRAGMA application_id").fetchone()[0] == 0 and empty:
                    self._create(model, dimensions or 0)
            found = run("PRAGMA application_id").fetchone()[0]
            if found == APPLICATION:
                self._log_ahead()
        if found != APPLICATION:
            raise StorageError(f"{self.path} is no gallery. Choose another --gallery.")
        version = run("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StorageError(
                f"{self.path} was written by a newer steradian (format {version}; this one knows {VERSION}). Update it."
            )
        run("PRAGMA synchronous = FULL")
        held = self.fact("model")
        if model is not None and held != model:
            raise StorageError(
                f"{self.path} holds vectors of another model ({held[:12]}…, not {model[:12]}…): they cannot be "
                "compared. Use that model, another --gallery, or embed its images anew: steradian gallery rebuild."
            )
        self.model = held
        self.dimensions = int(self.fact("dimensions"))
        if not 1 <= self.dimensions <= MOST_DIMENSIONS:
            raise StorageError(f"{self.path} is damaged: it says that vectors have {self.dimensions} dimensions.")

    def _log_ahead(self) -> None:
        """Write-ahead log; the change of mode does not wait for others by itself."""
        for attempt in range(100):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == 99:
                    raise
                time.sleep(0.05)

    def _create(self, model: str, dimensions: int) -> None:
        for statement in SCHEMA.split(";"):
            self._connection.execute(statement)
        facts = {"model": model, "dimensions": str(dimensions), "rewrites": "0", "thresholds": "[]"}
        facts["token"] = secrets.token_hex(16)
        self._connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the file, when no other thread is in the middle of a question."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite raises, as what went wrong with which file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"The gallery {self.path} cannot be used: {self._why(error)}.") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is damaged or no gallery ({error}). Restore a copy, or enroll anew."
            ) from error

    def _why(self, error: sqlite3.OperationalError) -> str:
        """SQLite's words are few: what is around the file says more."""
        words, folder = str(error), self.path.parent
        if "locked" in words:
            return "another process is writing to it"
        try:
            if self.path.is_dir():
                return "it is a folder; name a file"
            if not folder.is_dir():
                return f"there is no folder {folder}; make it first"
            if not os.access(folder, os.W_OK):
                return f"{folder} may not be written, which answering needs, too; copy the gallery to where it may"
            if "readonly" in words:
                return "it may not be written, which answering needs, too; copy it to where it may"
            if "full" in words or shutil.disk_usage(folder).free < LITTLE:
                return (
                    f"the disk of {folder} is full, and answering needs a little room, too; what was enrolled is safe"
                )
        except OSError as around:
            return f"{words} ({around})"
        return words

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """One transaction: all of it is on the disk at the end, or, after an error, none of it."""
        with self._told():
            self._begin()
        try:
            with self._told():
                try:
                    self._check_model()
                    yield
                    self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk may fail the COMMIT itself, and SQLite may have taken everything back already.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        finally:
            self._lock.release()

    def _begin(self) -> None:
        """Begin to write, and hold the lock of this process; while others write, questions go on."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            self._lock.acquire()
            try:
                self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                finally:
                    self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * WAIT_SECONDS)}")
                return
            except BaseException as error:
                self._lock.release()
                locked = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
                if not locked or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """The file as it is at one moment, whatever others write meanwhile."""
        with self._lock, self._told():
            self._connection.execute("BEGIN")
            try:
                self._check_model()
                yield
            finally:
                self._connection.execute("COMMIT")

    def _check_model(self) -> None:
        if self.model is not None and self.fact("model") != self.model:
            raise StorageError(f"{self.path} was embedded anew by another model meanwhile. Open it again.")

    def fact(self, name: str) -> str:
        """A value of the table of facts."""
        with self._lock, self._told():
            row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise StorageError(f"{self.path} is damaged: it does not say its {name}.")
        return str(row[0])

    def set_facts(self, **facts: str) -> None:
        """Write facts by name, in one transaction."""
        with self.change():
            for name, value in facts.items():
                self.set_fact(name, value)

    def set_fact(self, name: str, value: str) -> None:
        """Inside of `change`."""
        self._connection.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))
