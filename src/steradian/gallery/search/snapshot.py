"""The vectors of a gallery as they stood at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
        numbers, inverse = np.unique(self.identities, return_inverse=True)
        sums = np.zeros((len(numbers), self.vectors.shape[1]), dtype=np.float64)
        np.add.at(sums, inverse, self.vectors)
        return unit(sums), numbers
