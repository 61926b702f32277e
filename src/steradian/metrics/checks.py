"""Checks of what a metric is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def as_labels(labels: ArrayLike, name: str = "labels") -> Ints:
    """A 1-D integer array, or `InputError`."""
    found = np.asarray(labels)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"{name} must be whole numbers [N], but came as {found.dtype} {list(found.shape)}.")
    return found


def as_rows(values: ArrayLike, labels: Ints, name: str) -> Floats:
    """A finite 2-D float array with one row per label, or `InputError`."""
    found = np.asarray(values)
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.floating):
        raise InputError(f"{name} must be floats [N, D], but came as {found.dtype} {list(found.shape)}.")
    if len(found) != len(labels):
        raise InputError(f"{len(found)} rows of {name} came with {len(labels)} labels; one label per row is needed.")
    if len(found) == 0:
        raise InputError(f"{name} is empty: there is nothing to measure.")
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        raise InputError(f"{name} holds NaN or infinity in row {int(np.argmax(bad))}; every value must be finite.")
    return found


def unit(vectors: Floats) -> Floats:
    """Rows divided by their Euclidean norm; zero rows stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit_vectors: Floats = vectors / np.where(norms > 0, norms, 1)
    return unit_vectors
