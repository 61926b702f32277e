"""Storage for galleries: a SQLite file, or Milvus."""

from __future__ import annotations

from pathlib import Path

from steradian.gallery.backend import Backend
from steradian.gallery.backends.milvus import PREFIX, MilvusBackend
from steradian.gallery.backends.sqlite import SqliteBackend


def open_backend(path: str | Path, model: str | None = None, dimensions: int | None = None) -> Backend:
    """Open a SQLite file, or Milvus if ``path`` begins with `PREFIX`; with a model, create what is missing."""
    if str(path).startswith(PREFIX):
        return MilvusBackend(str(path), model, dimensions)
    return SqliteBackend(Path(path), model, dimensions)
