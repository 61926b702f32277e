"""The vectors of a gallery as they stood at one moment, kept in step with its file."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.backend import Backend
from steradian.gallery.records import Rows
from steradian.gallery.search.exact import unit


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a gallery; later changes do not affect it.

    Attributes:
        ids: int64 [N], image ids, ascending.
        identities: int64 [N], the identity of each image.
        vectors: float32 [N, D].
        names: identity id -> name.
    """

    ids: NDArray[np.int64]
    identities: NDArray[np.int64]
    vectors: NDArray[np.float32]
    names: Mapping[int, str]

    @cached_property
    def present(self) -> int:
        """The number of identities that have an image."""
        return len(np.unique(self.identities))

    @cached_property
    def means(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The mean direction of each identity's images, float32 [I, D], and the identities [I]."""
        order = np.argsort(self.identities, kind="stable")
        numbers, starts = np.unique(self.identities[order], return_index=True)
        if len(numbers) == 0:
            return np.zeros((0, self.vectors.shape[1]), np.float32), numbers
        return unit(np.add.reduceat(self.vectors[order], starts, axis=0, dtype=np.float64)), numbers

    @cached_property
    def blended(self) -> NDArray[np.float32]:
        """Each image and the mean of its identity, half and half, float32 [N, D]."""
        means, numbers = self.means
        return unit(self.vectors + means[np.searchsorted(numbers, self.identities)])

    def compared(self, strategy: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors that queries are compared with by a strategy, and the identity of each."""
        if strategy == "mean":
            return self.means
        return (self.blended if strategy == "blended" else self.vectors), self.identities

    @cached_property
    def typical(self) -> NDArray[np.int64]:
        """The id of the image nearest to each mean, [I]."""
        means, numbers = self.means
        inverse = np.searchsorted(numbers, self.identities)
        cosines = np.einsum("nd,nd->n", self.vectors, means[inverse])
        order = np.lexsort((cosines, inverse))
        ends = np.searchsorted(inverse[order], np.arange(len(numbers)), side="right") - 1
        return self.ids[order[ends]]


class SnapshotReader:
    """A copy of a gallery's vectors. `now` reads only added rows, or all if rows were changed or deleted."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._state = (-1, 0)
        self._rows = _empty_rows(0, backend.dimensions)
        self._names: dict[int, str] = {}
        self._snapshot = Snapshot(self._rows.ids, self._rows.identities, self._rows.vectors, self._names)

    def now(self) -> Snapshot:
        """Return a snapshot of the gallery."""
        with self._lock, self._backend.reading():
            state = self._backend.state()
            if state is None:
                # A remote backend cannot say what has changed.
                rows = self._backend.rows()
                return Snapshot(rows.ids, rows.identities, rows.vectors, self._backend.names())
            if state != self._state:
                appended = state[0] == self._state[0]
                count = len(self._snapshot.ids) if appended else 0
                # A snapshot in use keeps its names: a rename makes a new dict, an addition only extends it.
                self._names = self._names if appended else {}
                self._names.update(self._backend.names(max(self._names, default=0)))
                self._append(self._backend.rows(self._state[1] if appended else 0), count)
                self._state = state
            return self._snapshot

    def _append(self, rows: Rows, count: int) -> None:
        total = count + len(rows.ids)
        if count == 0:
            # All rows, as read; spare capacity is allocated when more come.
            self._rows = rows
            self._snapshot = Snapshot(rows.ids, rows.identities, rows.vectors, self._names)
            return
        if total > len(self._rows.ids):
            # Allocate new arrays, so that a snapshot in use keeps the old ones.
            grown = _empty_rows(max(total, 2 * count), self._backend.dimensions)
            old = self._snapshot
            _copy(Rows(old.ids[:count], old.identities[:count], old.vectors[:count]), grown, 0)
            self._rows = grown
        _copy(rows, self._rows, count)
        buffer = self._rows
        self._snapshot = Snapshot(buffer.ids[:total], buffer.identities[:total], buffer.vectors[:total], self._names)


def _empty_rows(count: int, dimensions: int) -> Rows:
    return Rows(np.empty(count, np.int64), np.empty(count, np.int64), np.empty((count, dimensions), np.float32))


def _copy(rows: Rows, into: Rows, start: int) -> None:
    target = slice(start, start + len(rows.ids))
    into.ids[target], into.identities[target], into.vectors[target] = rows.ids, rows.identities, rows.vectors
