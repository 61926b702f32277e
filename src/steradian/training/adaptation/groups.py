"""Which images belong together: groups that the data names, and near copies such as bursts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steradian.data.near_copies import MOST, ROWS, connected
from steradian.metrics.checks import unit
from steradian.training.adaptation.scatter import Floats

ALIKE = 0.97
"""Cosine of the features of two near copies."""


def grouped(features: Floats, names: NDArray[np.str_] | None) -> NDArray[np.int64]:
    """Return the group of each image, int64 [N]: images of one name, and near copies of each other.

    Args:
        features: [N, F] of the untrained encoder.
        names: [N], or None where the data names no groups.
    """
    count = len(features)
    first = np.arange(count)
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    if names is not None:
        _, where, inverse = np.unique(names, return_index=True, return_inverse=True)
        pairs.append(np.stack([first, where[inverse]]))
    if count <= MOST:
        directions = unit(features)
        for start in range(0, count, ROWS):
            alike = directions[start : start + ROWS] @ directions.T >= ALIKE
            rows, columns = np.nonzero(alike)
            pairs.append(np.stack([rows + start, columns]))
    return connected(count, np.concatenate(pairs, axis=1))
