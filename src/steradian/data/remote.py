"""Read from addresses such as s3://bucket/photos.csv: with retries, and a local cache of bounded size."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from steradian.data.cache_folder import cache_folder
from steradian.errors import DataError, SteradianError, UnreachableError, UsageError
from steradian.extras import pip_install
from steradian.files import atomic_file, sha256_of

FOLDER = "remote"
ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)

CACHE_GIB = 10.0
"""Size of the local cache; the variable STERADIAN_REMOTE_CACHE_GIB changes it."""

WAITS = (0.5, 2.0, 8.0)
"""Seconds before each new attempt to read."""

PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
"""Packages that speak to an address, by its protocol."""


def located(source: str | Path) -> Path:
    """Return the place of a source: a path, or for an address a path of `upath.UPath` with the same methods.

    Raises:
        UsageError: nothing that is installed speaks to the address.
    """
    if isinstance(source, Path) or not ADDRESS.match(str(source)):
        return Path(source)
    from upath import UPath

    protocol = str(source).partition("://")[0].lower()
    try:
        place = cast(Path, UPath(str(source)))
        place.fs  # type: ignore[attr-defined]  # noqa: B018 - made here, so that a missing package is told now
    except ImportError as error:
        package = PACKAGES.get(protocol, "the package that it names")
        advice = pip_install(package) if protocol in PACKAGES else str(error)
        raise UsageError(f"{source}: reading from {protocol}:// needs {package}: {advice}") from error
    except ValueError as error:
        raise UsageError(
            f"{source}: nothing here can read from {protocol}:// ({error}). Check the spelling."
        ) from error
    return place


def is_remote(place: Path) -> bool:
    """Return whether a place is an address."""
    return not isinstance(place, os.PathLike) or hasattr(place, "fs")


def runs_an_event_loop(place: Path) -> bool:
    """Return whether the file system of a place runs threads that do not survive a fork."""
    return is_remote(place) and bool(getattr(place.fs, "async_impl", False))  # type: ignore[attr-defined]


def read(place: Path, start: int | None = None, end: int | None = None) -> bytes:
    """Return the bytes ``start`` to ``end`` of the file at an address; tried again after each of `WAITS`.

    Raises:
        DataError: there is no such file.
        UnreachableError: the address does not answer.
    """
    files: Any = place.fs  # type: ignore[attr-defined]
    name: str = place.path  # type: ignore[attr-defined]
    failure: Exception | None = None
    for wait in (0.0, *WAITS):
        time.sleep(wait)
        try:
            content: bytes = files.cat_file(name, start=start, end=end)
            return content
        except FileNotFoundError as error:
            raise DataError("it does not exist") from error
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            failure = error
    raise UnreachableError(
        f"{place} does not answer ({type(failure).__name__}: {failure}), also not after {len(WAITS)} more attempts. "
        "Check the network and run the same command again: it goes on from the last checkpoint."
    ) from failure


@contextlib.contextmanager
def answering(place: Path) -> Iterator[None]:
    """Turn the errors of a file system at an address, while it is opened, into one that says what to do."""
    try:
        yield
    except SteradianError:
        raise
    except Exception as error:
        if not is_remote(place):
            raise
        raise UnreachableError(
            f"{place} cannot be opened ({type(error).__name__}: {error}). Check the address, the network and your "
            "credentials."
        ) from error


class RemoteCache:
    """Local copies of files at addresses. When they exceed the limit, those that were not used for longest go.

    Attributes:
        limit: bytes; None: `cache_limit`. Looking for what to delete takes time, so that each process of a run may
            exceed it by a fiftieth.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._unchecked = 0

    def read(self, place: Path) -> bytes:
        """Return the content of the file at an address. Raises as `read` does."""
        folder = cache_folder() / FOLDER
        local = folder / sha256_of(str(place).encode())[:40]
        with contextlib.suppress(OSError):
            content = local.read_bytes()
            os.utime(local)
            return content
        content = read(place)
        limit = self.limit if self.limit is not None else cache_limit()
        if len(content) <= limit:
            with atomic_file(local) as temporary:
                temporary.write_bytes(content)
            self._unchecked += len(content)
        if self._unchecked > limit / 50:
            self._unchecked = 0
            _shrink(folder, limit)
        return content


def cache_limit() -> int:
    """Return the size of the local cache in bytes. Raises `UsageError` where the variable holds no number."""
    text = os.environ.get("STERADIAN_REMOTE_CACHE_GIB", str(CACHE_GIB))
    try:
        return int(float(text) * 2**30)
    except ValueError as error:
        raise UsageError(f"STERADIAN_REMOTE_CACHE_GIB is {text!r}; expected a number, such as 10.") from error


def _shrink(folder: Path, limit: int) -> None:
    """Delete the files that were not used for longest until the rest has at most ``limit`` bytes."""
    files = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            found = entry.stat()
            files.append((found.st_mtime, found.st_size, entry.path))
    used = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if used <= limit:
            return
        with contextlib.suppress(OSError):
            Path(path).unlink()
        used -= size
