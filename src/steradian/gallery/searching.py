"""Where a gallery's questions are answered: in this process, from a copy of the vectors, or where they lie."""

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
    """What a gallery asks."""

    def pool(self, strategy: str, wanted: Sequence[int] | None = None) -> Pool:
        """What a question is compared with, of everybody or of the identities ``wanted``."""

    def held(self) -> Held:
        """All vectors as they are now, in this process."""

    def build_index(self, kind: Kind) -> Header:
        """Make an approximate index anew."""

    def drop_index(self) -> None:
        """Search exactly from now on."""


class LocalSearch:
    """Search in this process: exact, or by an index beside the record."""

    def __init__(self, store: Store) -> None:
        self._store, self._memory = store, Memory(store)
        self._index: Index | None = None
        self._looked_for: str | None = None

    def pool(self, strategy: str, wanted: Sequence[int] | None = None) -> Pool:
        """See `Searching`."""
        held = self._memory.now()
        if strategy == "mean":
            return means_of(held, wanted)
        index = self._index_of(held) if wanted is None else None
        if index is None:
            return images_of(held, wanted=wanted)
        index.catch_up(held)
        return images_of(held, index.search(held))

    def _index_of(self, held: Held) -> Index | None:
        """The index beside the record, read when it is first needed or the record's vectors are others than before."""
        token = self._store.token()
        if self._looked_for != token:
            self._index, self._looked_for = read(index_file(self._store.path), token, held), token
        return self._index

    def held(self) -> Held:
        """See `Searching`."""
        return self._memory.now()

    def build_index(self, kind: Kind) -> Header:
        """See `Searching`."""
        self._looked_for = None
        return build(self._memory.now(), self._store.token(), index_file(self._store.path), kind)

    def drop_index(self) -> None:
        """See `Searching`."""
        self._looked_for = None
        index_file(self._store.path).unlink(missing_ok=True)


class MilvusSearch:
    """Search by Milvus, which has an index of its own; means are made of vectors that are brought here."""

    def __init__(self, store: MilvusStore) -> None:
        self._store = store

    def pool(self, strategy: str, wanted: Sequence[int] | None = None) -> Pool:
        """See `Searching`."""
        return means_of(self.held(), wanted) if strategy == "mean" else self._store.pool(wanted)

    def held(self) -> Held:
        """See `Searching`."""
        rows = self._store.rows()
        return Held(rows.ids, rows.identities, rows.vectors, self._store.names())

    def build_index(self, kind: Kind) -> Header:
        """Raises `UsageError`."""
        raise UsageError("Milvus has an index of its own: it needs none beside it.")

    def drop_index(self) -> None:
        """There is none."""
