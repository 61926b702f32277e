"""Read and write files safely: atomic writes, size-limited reads, folder locks, content hashes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steradian.errors import StorageError, UsageError

JSON_LIMIT = 64 * 2**20
"""Largest JSON file that is read: 64 MiB, far more than steradian ever writes."""

LOCK = ".steradian.lock"
"""Name of the lock file of the process that writes to a folder."""


@contextlib.contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Convert an ``OSError`` inside the block to a `StorageError` that names ``path`` and says what to do."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "The disk is full: free some space, then run the same command again.",
            errno.EDQUOT: "The disk quota is used up: free some space, then run the same command again.",
            errno.EACCES: "You have no permission: choose another folder or change its permissions.",
            errno.EPERM: "You have no permission: choose another folder or change its permissions.",
            errno.EROFS: "The disk is read-only: choose another folder.",
            errno.ENOENT: f"{'It' if action.startswith('read') else 'Its folder'} does not exist: check the spelling.",
            errno.ENOTDIR: "A part of this path is a file, not a folder: check the spelling.",
            errno.EISDIR: "It is a folder where a file was expected.",
        }.get(error.errno or 0, f"The system reported: {error.strerror or error}.")
        raise StorageError(f"Could not {action} {path}. {advice}") from error


def check_new(path: Path) -> None:
    """Raise `UsageError` if there is something at ``path`` already, which would be lost."""
    if path.exists():
        raise UsageError(f"{path} already exists, and would be lost. Choose another name, or remove it first.")


def check_regular(path: Path) -> None:
    """Raise `UsageError` for a pipe, a socket or a device, which may never end; a missing file is told elsewhere."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(f"{path} is neither a file nor a folder, but a pipe or a device. Copy its content to a file.")


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it into place.

    A reader of ``path`` sees either the old or the new content, never a partial file. On any error the
    temporary file is removed and ``path`` is unchanged.
    """
    path = Path(path)
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success sync it and rename it into place.

    An existing folder at ``path`` is replaced. On any error the temporary folder is removed.
    """
    path = Path(path)
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        temporary.mkdir()
        try:
            yield temporary
            for entry in temporary.rglob("*"):
                if entry.is_file():
                    with entry.open("rb") as file:
                        os.fsync(file.fileno())
                else:
                    _sync_folder(entry)
            _sync_folder(temporary)
            _replace_folder(temporary, path)
            _sync_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` to ``path``; if that fails, restore the folder that was at ``path``."""
    if not path.exists():
        temporary.rename(path)
        return
    replaced = temporary.with_suffix(".old")
    path.rename(replaced)
    try:
        temporary.rename(path)
    except OSError:
        replaced.rename(path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON to ``path`` atomically. NaN and infinity become null."""
    write_text(path, json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Return ``content`` with every NaN or infinite number replaced by None, because JSON has neither."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float):
        return content if content - content == 0 else None
    if hasattr(content, "item"):
        return finite(content.item())
    return content


def read_json(path: Path, limit: int = JSON_LIMIT) -> Any:
    """Read JSON from ``path``.

    Raises `StorageError` when the file is missing, larger than ``limit`` bytes, or not valid JSON.
    """
    path = Path(path)
    with explained("read", path):
        size = path.stat().st_size
        if size > limit:
            raise StorageError(f"{path} has {size:,} bytes; at most {limit:,} were expected. Is it the right file?")
        text = path.read_bytes()
    try:
        return json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise StorageError(f"{path} is not valid JSON ({error}). It may be damaged: create it again.") from error


def printable(name: str | Path) -> str:
    """Return a file name as text that can be printed and stored: bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process, and delete temporary files that killed processes left in it.

    Raises:
        UsageError: another process has locked it.
    """
    with explained("lock", folder), (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"Another steradian process is writing to {folder}. Wait until it ends, or choose another --out."
            ) from error
        for entry in [*folder.glob(".*"), *folder.glob("*/.*"), *folder.glob("*/*/.*")]:
            if entry.suffix in (".tmp", ".old"):
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
        yield


def sha256_of(*parts: bytes | memoryview) -> str:
    """Return the hex SHA-256 of ``parts``, each preceded by its length, so that other divisions hash differently."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def check_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Raise `UsageError` when ``path`` is a file, or a folder that is not empty and ``exist_ok`` is false."""
    path = Path(path)
    with explained("read", path):
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; --out needs a folder.")
        if not exist_ok and path.is_dir() and any(not _is_left_over(entry) for entry in path.iterdir()):
            raise UsageError(
                f"{path} exists and is not empty. Choose another folder (out), or allow "
                "it to write into this one (--exist-ok, exist_ok=True)."
            )


def _is_left_over(entry: Path) -> bool:
    """Return whether ``entry`` is a lock file or a temporary file that a killed steradian process left."""
    return entry.name == LOCK or (entry.name.startswith(".") and entry.suffix in (".tmp", ".old"))


def new_folder(path: Path, *, exist_ok: bool = False) -> Path:
    """Create ``path`` and check that it is writable, before a long run starts.

    Raises:
        UsageError: see `check_folder`.
        StorageError: it cannot be created or written.
    """
    path = Path(path)
    check_folder(path, exist_ok=exist_ok)
    with explained("make the folder", path):
        path.mkdir(parents=True, exist_ok=True)
        # The probe has a unique name, so that processes that start together do not delete each other's.
        probe = _temporary_beside(path / "probe")
        probe.write_bytes(b"")
        probe.unlink()
    return path
