"""Search a gallery: where its vectors are, or in this process from a copy of them."""

from __future__ import annotations

from collections.abc import Sequence

from steradian.errors import UsageError
from steradian.gallery.backend import Backend
from steradian.gallery.search.faiss_index import Header, Index, Kind, build, index_file, read
from steradian.gallery.search.pool import Pool, images_of, means_of
from steradian.gallery.search.snapshot import Snapshot, SnapshotReader


class GallerySearch:
    """Exact search, or by an approximate index beside the gallery's file."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._reader = backend, SnapshotReader(backend)
        self._index: Index | None = None
        self._index_token: str | None = None

    def pool(self, strategy: str, identities: Sequence[int] | None = None) -> Pool:
        """Return what a query is compared with, of all identities or of ``identities``."""
        if strategy == "mean":
            return means_of(self.snapshot(), identities)
        if strategy == "blended":
            return images_of(self.snapshot(), identities=identities, strategy=strategy)
        search = self._backend.remote_search(identities)
        if search is not None:
            return Pool(*search)
        snapshot = self._reader.now()
        index = self._index_of(snapshot) if identities is None else None
        if index is None:
            return images_of(snapshot, identities=identities)
        index.catch_up(snapshot)
        return images_of(snapshot, index.search(snapshot))

    def _index_of(self, snapshot: Snapshot) -> Index | None:
        """Return the index beside the file; read it on first use and after the vectors were replaced."""
        token = self._backend.token()
        if self._index_token != token:
            self._index, self._index_token = read(index_file(self._backend.path), token, snapshot), token
        return self._index

    def has_index(self) -> bool:
        """Return whether there is an approximate index beside the file."""
        return index_file(self._backend.path).exists()

    def snapshot(self) -> Snapshot:
        """Return all vectors as they are now, in this process."""
        return self._reader.now()

    def build_index(self, kind: Kind) -> Header:
        """Build or rebuild an approximate index. Raises `UsageError` if the backend has its own."""
        if self._backend.remote_search(()) is not None:
            raise UsageError(f"{self._backend.path} has its own index, so it needs no index file.")
        self._index_token = None
        return build(self._reader.now(), self._backend.token(), index_file(self._backend.path), kind)

    def drop_index(self) -> None:
        """Delete the index, so that search is exact from now on."""
        self._index_token = None
        index_file(self._backend.path).unlink(missing_ok=True)
