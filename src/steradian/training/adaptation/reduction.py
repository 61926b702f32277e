"""Principal components of blocks of features that are too wide to whiten: those of stages averaged in cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.training.adaptation.classifiers import Linear
from steradian.training.adaptation.scatter import Floats

COMPONENTS = 400
"""Columns that are kept of a wider block; the final block stays whole, because results are compared with it."""


@dataclass(frozen=True)
class Reduction:
    """A linear map of features [N, F] to fewer columns, each block by itself.

    Attributes:
        maps: [F_b, R_b] of each block, with orthonormal columns; None for a block that stays.
        before: columns of each block of the features.
    """

    maps: tuple[Floats | None, ...]
    before: tuple[int, ...]

    @classmethod
    def of(cls, features: Floats, sizes: Sequence[int], seed: int) -> Reduction:
        """Find the directions of largest variance of every block but the last that has more than `COMPONENTS`."""
        from sklearn.utils.extmath import randomized_svd

        maps: list[Floats | None] = []
        for columns in _columns(sizes)[:-1]:
            block = features[:, columns]
            if block.shape[1] <= COMPONENTS:
                maps.append(None)
                continue
            centered = block - block.mean(axis=0)
            _, _, rows = randomized_svd(centered, min(COMPONENTS, len(block)), n_iter=2, random_state=seed)
            # Fewer images than components leave columns of zeros, so that the size does not depend on the images.
            kept = np.zeros((block.shape[1], COMPONENTS), dtype=np.float32)
            kept[:, : len(rows)] = rows.T
            maps.append(kept)
        return cls((*maps, None), tuple(sizes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Columns of each block afterwards."""
        return reduced(self.before)

    def __call__(self, features: Floats) -> Floats:
        """Return the reduced features [N, R]."""
        parts = zip(_columns(self.before), self.maps, strict=True)
        return np.concatenate(
            [features[:, columns] if part is None else features[:, columns] @ part for columns, part in parts], axis=1
        )

    def then(self, linear: Linear) -> Linear:
        """Return the map of the features themselves that equals ``linear`` after this one."""
        rows: list[NDArray[np.float32]] = []
        parts = zip(_columns(self.sizes), self.maps, strict=True)
        for columns, part in parts:
            block = linear.weight[columns]
            rows.append(block if part is None else part @ block)
        return Linear(np.concatenate(rows), linear.bias)


def reduced(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the columns of each block after a `Reduction` of blocks of ``sizes`` columns."""
    return (*(min(size, COMPONENTS) for size in sizes[:-1]), sizes[-1])


def _columns(sizes: Sequence[int]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
