"""Open, change and read the gallery's SQLite file, which survives kill -9.

Every change is one transaction, synced to the disk before it is acknowledged (write-ahead log, synchronous = FULL).
Many processes may read while one writes; a second writer waits. On a read-only volume it is only read.
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
from typing import Any

from steradian.errors import InputError, ReadOnlyError, StorageError
from steradian.gallery.backends.open_file import OpenFile, connect, is_read_only

APPLICATION, VERSION = 0x53545244, 1
WAIT_SECONDS, BUSY_SECONDS = 10.0, 0.05
"""Seconds that a change waits for other processes: in all, and at a time while it blocks this one's queries."""
MOST_DIMENSIONS = 65_536
LITTLE = 2**20
"""Free bytes that SQLite needs to work."""

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


class SqliteFile:
    """One gallery file, created if it does not exist and a model's id and its ``dimensions`` are given.

    Raises `StorageError` for a file that is not a gallery, damaged, newer, or of another model.

    Attributes:
        read_only: nothing can be written where it lies, so that it only answers.
    """

    def __init__(self, path: Path, model: str | None = None, dimensions: int | None = None) -> None:
        self.path = self.beside = path
        self._lock = threading.RLock()
        self.model = ""
        self.dimensions = 0
        if model is None and not path.is_file():
            raise StorageError(f"There is no gallery {path}. Enroll somebody first: steradian enroll RUN FOLDER.")
        self.read_only = is_read_only(path)
        self._connect(model, dimensions)

    def _connect(self, model: str | None, dimensions: int | None) -> None:
        with self._storage_errors():
            self._connection = connect(self.path, self.read_only, WAIT_SECONDS)
            self._connection.execute("PRAGMA foreign_keys = ON")
            # SQLite's lower() changes ASCII letters only.
            self._connection.create_function("folded", 1, str.casefold, deterministic=True)
            self._file: OpenFile | None = None
            self._open(model, dimensions)
            self._file = OpenFile(self.path, self.read_only)

    def check(self) -> None:
        """Raise `StorageError` if the file was removed or replaced since it was opened."""
        if self._file is not None:
            self._file.check()

    def _open(self, model: str | None, dimensions: int | None) -> None:
        run = self._connection.execute
        application = run("PRAGMA application_id").fetchone()[0]
        if application == 0 and model is not None:
            if not 1 <= (dimensions or 0) <= MOST_DIMENSIONS:
                raise InputError(f"vectors must have 1 to {MOST_DIMENSIONS} dimensions, not {dimensions}.")
            # Another process may be creating the same gallery, so check again under the lock.
            with self.change():
                empty = run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
                if run("PRAGMA application_id").fetchone()[0] == 0 and empty:
                    self._create(model, dimensions or 0)
            application = run("PRAGMA application_id").fetchone()[0]
            if application == APPLICATION:
                self._log_ahead()
        if application != APPLICATION:
            raise StorageError(f"{self.path} is not a gallery. Choose another --gallery.")
        version = run("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StorageError(
                f"{self.path} was written by a newer steradian (format {version}; this one reads {VERSION}). Update it."
            )
        run("PRAGMA synchronous = FULL")
        stored = self.setting("model")
        if model is not None and stored != model:
            raise StorageError(
                f"{self.path} holds vectors of another model ({stored[:12]}…, not {model[:12]}…): they cannot be "
                "compared. Use that model, another --gallery, or embed its images again: steradian gallery rebuild."
            )
        self.model = stored
        self.dimensions = int(self.setting("dimensions"))
        if not 1 <= self.dimensions <= MOST_DIMENSIONS:
            raise StorageError(f"{self.path} is damaged: it claims {self.dimensions} dimensions. Restore a copy.")

    def _log_ahead(self) -> None:
        """Switch to the write-ahead log; retry, because SQLite does not wait for other processes here."""
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
        settings = {"model": model, "dimensions": str(dimensions), "rewrites": "0", "thresholds": "[]"}
        settings["token"] = secrets.token_hex(16)
        self._connection.executemany("INSERT INTO facts VALUES (?, ?)", settings.items())
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Close the file once no other thread is using it."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Turn SQLite errors into a `StorageError` that names the file and the cause."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"The gallery {self.path} cannot be used: {self._cause(error)}.") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is damaged or not a gallery ({error}). Restore a copy, or enroll again."
            ) from error

    def _cause(self, error: sqlite3.OperationalError) -> str:
        """Explain an SQLite error from the state of the file and its folder."""
        message, folder = str(error), self.path.parent
        if "locked" in message:
            return "another process is writing to it"
        try:
            if self.path.is_dir():
                return "it is a folder; name a file"
            if not folder.is_dir():
                return f"there is no folder {folder}; create it first"
            if self.read_only:
                return (
                    f"it is read-only, and its newest changes are still in {self.path.name}-wal; open it once where it "
                    "can be written, or export it there"
                )
            if "readonly" in message:
                return "it is read-only; copy it to a writable folder to change it"
            if not os.access(folder, os.W_OK):
                return f"{folder} is read-only; choose another folder for a new gallery"
            if "full" in message or shutil.disk_usage(folder).free < LITTLE:
                return (
                    f"the disk of {folder} is full, and queries need a little free space, too; enrolled images are safe"
                )
        except OSError as file_error:
            return f"{message} ({file_error})"
        return message

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Run one transaction: all of it is on disk at the end, or none of it after an error."""
        with self._storage_errors():
            self._begin()
        try:
            with self._storage_errors():
                try:
                    self._check_model()
                    yield
                    self._connection.execute("COMMIT")
                    # Only now: a file that was replaced before the commit has not received it.
                    self.check()
                except BaseException:
                    # On a full disk COMMIT itself may fail, and SQLite may have rolled back already.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        finally:
            self._lock.release()

    def _begin(self) -> None:
        """Begin a write transaction and keep this process's lock; while others write, queries go on."""
        if self.read_only:
            raise ReadOnlyError(f"{self.path} is read-only: it answers, but nothing in it can be changed here.")
        self.check()
        deadline = time.monotonic() + WAIT_SECONDS
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
                if not locked or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read a consistent snapshot of the file, whatever others write meanwhile."""
        with self._lock, self._storage_errors():
            self._reopen_if_changed()
            self._connection.execute("BEGIN")
            try:
                self._check_model()
                yield
            finally:
                self._connection.execute("COMMIT")

    def _check_model(self) -> None:
        if self.model and self.setting("model") != self.model:
            raise StorageError(f"{self.path} was embedded again by another model meanwhile. Open it again.")

    def setting(self, name: str) -> str:
        """Return a value that is kept with the gallery."""
        rows = self._select("SELECT value FROM facts WHERE name = ?", name)
        if not rows:
            raise StorageError(f"{self.path} is damaged: its value of {name!r} is missing. Restore a copy.")
        return str(rows[0][0])

    def _select(self, query: str, *parameters: Any) -> list[Any]:
        with self._lock, self._storage_errors():
            if not self._connection.in_transaction:
                self._reopen_if_changed()
            return self._connection.execute(query, parameters).fetchall()

    def _reopen_if_changed(self) -> None:
        self.check()
        if self._file is not None and self._file.changed_beneath():
            self._connection.close()
            self._connect(None, None)

    def set_setting(self, name: str, value: str) -> None:
        """Write one value; call this within `change`."""
        self._connection.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))
