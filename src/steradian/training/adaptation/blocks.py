"""Features in blocks, such as the final ones and the averages of earlier stages, under several weightings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steradian.training.adaptation.scatter import Floats, Scatter

FINAL, ALL, EARLIER = "final features", "features of several stages", "features of earlier stages"

LEFT_OUT = 0.02
"""Weight of a block that an embedding leaves out: its share of a cosine is below 1 in 1,000, and no map is singular."""


@dataclass(frozen=True)
class Blocks:
    """Features [N, F] with labels, and the weightings of their columns that are compared.

    Attributes:
        features: float32 [N, F], each block of mean square norm 1.
        labels: int64 [N].
        weights: name -> [F].
    """

    features: Floats
    labels: NDArray[np.int64]
    weights: dict[str, Floats]
    _scatters: dict[tuple[str, bytes], Scatter] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, features: Floats, labels: NDArray[np.int64], sizes: Sequence[int], *, alone: bool = False
    ) -> tuple[Blocks, Floats]:
        """Scale the blocks of ``sizes`` columns, of which the last one is final; return them and the factors [F].

        ``alone``: whether the earlier blocks without the final one are a weighting, too.
        """
        ends = np.cumsum(sizes)
        factors = np.empty(features.shape[1], np.float32)
        for start, end in zip(ends - np.asarray(sizes), ends, strict=True):
            square = float(np.square(features[:, start:end], dtype=np.float64).sum(axis=1).mean())
            factors[start:end] = 1.0 / max(square, 1e-24) ** 0.5
        weights = {FINAL: np.full(features.shape[1], LEFT_OUT, np.float32)}
        weights[FINAL][-sizes[-1] :] = 1.0
        if len(sizes) > 1:
            weights[ALL] = np.ones(features.shape[1], np.float32)
        if alone:
            weights[EARLIER] = np.ones(features.shape[1], np.float32)
            weights[EARLIER][-sizes[-1] :] = LEFT_OUT
        return cls(features * factors, labels, weights), factors

    def at(self, block: str, indices: NDArray[np.intp]) -> Floats:
        """Return the weighted features [n, F] of the images at ``indices``."""
        return self.features[indices] * self.weights[block]

    def scatter(self, block: str, indices: NDArray[np.intp]) -> Scatter:
        """Return the scatter of `at`, computed once."""
        key = (block, np.asarray(indices).tobytes())
        if key not in self._scatters:
            _, labels = np.unique(self.labels[indices], return_inverse=True)
            self._scatters[key] = Scatter.of(self.at(block, indices), labels)
        return self._scatters[key]
