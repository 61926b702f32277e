"""The vectors of a gallery in memory, kept up with its file."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.store import Store


class Memory:
    """A copy of a store's vectors. `now` reads what was added since, or all where rows have changed or gone.

    Attributes:
        vectors: float32 [N, D].
        identities: int64 [N], whose they are.
        names: of each identity by its number.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._state = (-1, 0)
        self._count = 0
        self._vectors = np.zeros((0, store.dimensions), dtype=np.float32)
        self._identities = np.zeros(0, dtype=np.int64)
        self.names: dict[int, str] = {}

    @property
    def vectors(self) -> NDArray[np.float32]:
        return self._vectors[: self._count]

    @property
    def identities(self) -> NDArray[np.int64]:
        return self._identities[: self._count]

    def now(self) -> Memory:
        """The gallery as it stands: a view that later changes leave alone."""
        with self._lock, self._store.reading():
            state = self._store.state()
            if state != self._state:
                if state[0] != self._state[0]:
                    self._count, self._vectors = 0, np.zeros((0, self._store.dimensions), dtype=np.float32)
                    self._identities = np.zeros(0, dtype=np.int64)
                self._append(self._state[1] if state[0] == self._state[0] else 0)
                self.names = {number: identity.name for number, identity in self._store.identities()}
                self._state = state
            found = Memory.__new__(Memory)
            found._vectors, found._identities, found._count = self._vectors, self._identities, self._count
            found.names = self.names
            return found

    def _append(self, after: int) -> None:
        rows = self._store.rows(after)
        total = self._count + len(rows.ids)
        if total > len(self._vectors):
            # Grown arrays are new ones, so that a view in use keeps the old.
            room = max(total, 2 * len(self._vectors))
            vectors = np.empty((room, self._store.dimensions), dtype=np.float32)
            identities = np.empty(room, dtype=np.int64)
            vectors[: self._count], identities[: self._count] = self.vectors, self.identities
            self._vectors, self._identities = vectors, identities
        self._vectors[self._count : total] = rows.vectors
        self._identities[self._count : total] = rows.identities
        self._count = total

    def means(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The mean direction of each identity's images, float32 [I, D], and the identities [I]."""
        numbers, place = np.unique(self.identities, return_inverse=True)
        sums = np.zeros((len(numbers), self._vectors.shape[1]), dtype=np.float64)
        np.add.at(sums, place, self.vectors)
        lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return (sums / lengths).astype(np.float32), numbers
