"""The vectors of a gallery in memory, kept up with its file."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.search import unit
from steradian.gallery.store import Rows, Store


@dataclass(frozen=True)
class Held:
    """A gallery as it stood at one moment; later changes leave it alone.

    Attributes:
        ids: int64 [N], of the images, rising.
        identities: int64 [N], whose they are.
        vectors: float32 [N, D].
        names: of each identity by its number.
    """

    ids: NDArray[np.int64]
    identities: NDArray[np.int64]
    vectors: NDArray[np.float32]
    names: Mapping[int, str]

    @cached_property
    def present(self) -> int:
        """How many identities have an image."""
        return len(np.unique(self.identities))

    @cached_property
    def means(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The mean direction of each identity's images, float32 [I, D], and the identities [I]."""
        numbers, place = np.unique(self.identities, return_inverse=True)
        sums = np.zeros((len(numbers), self.vectors.shape[1]), dtype=np.float64)
        np.add.at(sums, place, self.vectors)
        return unit(sums), numbers


class Memory:
    """A copy of a store's vectors. `now` reads what was added since, or all where rows have changed or gone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._state = (-1, 0)
        self._rows = _room(0, store.dimensions)
        self._names: dict[int, str] = {}
        self._held = Held(self._rows.ids, self._rows.identities, self._rows.vectors, self._names)

    def now(self) -> Held:
        """The gallery as it stands."""
        with self._lock, self._store.reading():
            state = self._store.state()
            if state != self._state:
                appended = state[0] == self._state[0]
                count = len(self._held.ids) if appended else 0
                # A view in use keeps the names that it has: a rename makes new ones, an addition only adds.
                self._names = self._names if appended else {}
                self._names.update(self._store.names(max(self._names, default=0)))
                self._append(self._store.rows(self._state[1] if appended else 0), count)
                self._state = state
            return self._held

    def _append(self, rows: Rows, count: int) -> None:
        total = count + len(rows.ids)
        if count == 0:
            # All of them, as they came; room for more is made when more come.
            self._rows = rows
            self._held = Held(rows.ids, rows.identities, rows.vectors, self._names)
            return
        if total > len(self._rows.ids):
            # Grown arrays are new ones, so that a view in use keeps the old.
            grown = _room(max(total, 2 * count), self._store.dimensions)
            _copy(Rows(self._held.ids[:count], self._held.identities[:count], self._held.vectors[:count]), grown, 0)
            self._rows = grown
        _copy(rows, self._rows, count)
        held = self._rows
        self._held = Held(held.ids[:total], held.identities[:total], held.vectors[:total], self._names)


def _room(count: int, dimensions: int) -> Rows:
    return Rows(np.empty(count, np.int64), np.empty(count, np.int64), np.empty((count, dimensions), np.float32))


def _copy(rows: Rows, into: Rows, start: int) -> None:
    places = slice(start, start + len(rows.ids))
    into.ids[places], into.identities[places], into.vectors[places] = rows.ids, rows.identities, rows.vectors
