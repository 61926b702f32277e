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


def as_scores(values: ArrayLike, name: str = "scores") -> Floats:
    """A 1-D array of numbers without NaN, as floats, or `InputError`."""
    found = np.asarray(values)
    if found.ndim != 1 or not (np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)):
        raise InputError(f"{name} must be numbers [N], but came as {found.dtype} {list(found.shape)}.")
    if not np.issubdtype(found.dtype, np.floating):
        found = found.astype(np.float64)
    bad = np.isnan(found)
    if bad.any():
        raise InputError(f"{name} holds NaN at place {int(np.argmax(bad))}; every score must be a number.")
    return found


def as_flags(values: ArrayLike, count: int, name: str) -> NDArray[np.bool_]:
    """A bool array [count] (0 and 1 will do), or `InputError`."""
    found = np.asarray(values)
    if found.shape != (count,):
        raise InputError(f"{name} came as {list(found.shape)}, but one for each of {count} scores is needed.")
    if found.dtype != np.bool_ and not np.isin(found, (0, 1)).all():
        raise InputError(f"{name} must be true or false (1 or 0), but holds other values.")
    return found.astype(np.bool_)


def as_share(value: float, name: str) -> float:
    """A number strictly between 0 and 1, or `InputError`."""
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} must lie strictly between 0 and 1, but is {value}.")
    return float(value)


def as_classes(labels: ArrayLike, num_classes: int, name: str = "label", least: int = 0) -> Ints:
    """Whole numbers [N] from ``least`` to C-1, or `InputError`."""
    found = as_labels(labels, f"{name}s")
    outside = (found < least) | (found >= num_classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"{name} {found[row]} in row {row} is outside {least}..{num_classes - 1}.")
    return found


def unit(vectors: Floats) -> Floats:
    """Rows divided by their Euclidean norm, in single precision at least; zero rows stay zero."""
    if vectors.dtype == np.float16:
        vectors = vectors.astype(np.float32)
    # Squares of very large or small numbers would leave the range.
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    scaled = vectors / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit_vectors: Floats = scaled / np.where(norms > 0, norms, 1)
    return unit_vectors
