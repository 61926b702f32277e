"""Search a gallery in this process, from a copy of its vectors, or in Milvus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from steradian.errors import UsageError
from steradian.gallery.index import Header, Index, Kind, build, index_file, read
from steradian.gallery.memory import Held, Memory
from steradian.gallery.milvus import MilvusStore
from steradian.gallery.pool import Pool, images_of, means_of
from steradian.gallery.store import Store


class Searching(Protocol):
    """The interface of a search backend."""

    def pool(self, strategy: str, identities: Sequence[int] | None = None) -> Pool:
        """Return what a query is compared with, of all identities or of ``identities``."""

    def held(self) -> Held:
        """Return a snapshot of all vectors, in this process."""

    def build_index(self, kind: Kind) -> Header:
        """Build or rebuild an approximate index."""

    def drop_index(self) -> None:
        """Delete the index, so that search is exact from now on."""


class LocalSearch:
    """Search in this process, exactly or by an index beside the record."""

    def __init__(self, store: Store) -> None:
        self._store, self._memory = store, Memory(store)
        self._index: Index | None = None
        self._index_token: str | None = None

    def pool(self, strategy: str, identities: Sequence[int] | None = None) -> Pool:
        """See `Searching`."""
        snapshot = self._memory.now()
        if strategy == "mean":
            return means_of(snapshot, identities)
        index = self._index_of(snapshot) if identities is None else None
        if index is None:
            return images_of(snapshot, identities=identities)
        index.catch_up(snapshot)
        return images_of(snapshot, index.search(snapshot))

    def _index_of(self, snapshot: Held) -> Index | None:
        """Return the index beside the record; read it on first use and after the vectors were replaced."""
        token = self._store.token()
        if self._index_token != token:
            self._index, self._index_token = read(index_file(self._store.path), token, snapshot), token
        return self._index

    def held(self) -> Held:
        """See `Searching`."""
        return self._memory.now()

    def build_index(self, kind: Kind) -> Header:
        """See `Searching`."""
        self._index_token = None
        return build(self._memory.now(), self._store.token(), index_file(self._store.path), kind)

    def drop_index(self) -> None:
        """See `Searching`."""
        self._index_token = None
        index_file(self._store.path).unlink(missing_ok=True)


class MilvusSearch:
    """Search by Milvus, which has its own index; mean directions are computed here from fetched vectors."""

    def __init__(self, store: MilvusStore) -> None:
        self._store = store

    def pool(self, strategy: str, identities: Sequence[int] | None = None) -> Pool:
        """See `Searching`."""
        return means_of(self.held(), identities) if strategy == "mean" else self._store.pool(identities)

    def held(self) -> Held:
        """See `Searching`."""
        rows = self._store.rows()
        return Held(rows.ids, rows.identities, rows.vectors, self._store.names())

    def build_index(self, kind: Kind) -> Header:
        """Raises `UsageError`."""
        raise UsageError("Milvus has its own index, so a gallery there needs no index file.")

    def drop_index(self) -> None:
        """Do nothing: there is no index file."""
