"""Open the backend that a path or address names."""

from __future__ import annotations

from pathlib import Path

from steradian.gallery.backend import Backend
from steradian.gallery.backends.milvus import PREFIX, MilvusBackend
from steradian.gallery.backends.sqlite import SqliteBackend


def open_backend(path: str | Path, model: str | None = None, dimensions: int | None = None) -> Backend:
    """Open a SQLite file, or Milvus if ``path`` begins with `PREFIX`; with a model, create what is missing.

    Args:
        model: id of the model whose vectors it holds; None: whichever it is.
        dimensions: D, with ``model``.

    Raises:
        StorageError: no gallery, a damaged one, or one of another model.
    """
    if str(path).startswith(PREFIX):
        return MilvusBackend(str(path), model, dimensions)
    return SqliteBackend(Path(path), model, dimensions)
