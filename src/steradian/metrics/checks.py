"""Check and convert the arguments of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def as_labels(labels: ArrayLike, name: str = "labels") -> Ints:
    """Return a 1-D integer array, or raise `InputError`."""
    array = np.asarray(labels)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must be whole numbers [N], but came as {array.dtype} {list(array.shape)}.")
    return array


def as_rows(values: ArrayLike, labels: Ints, name: str) -> Floats:
    """Return a finite 2-D float array with one row per label, or raise `InputError`."""
    array = np.asarray(values)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name} must be floats [N, D], but came as {array.dtype} {list(array.shape)}.")
    if len(array) != len(labels):
        raise InputError(f"{len(array)} rows of {name} came with {len(labels)} labels; give one label per row.")
    if len(array) == 0:
        raise InputError(f"{name} is empty, but at least one row is needed.")
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(f"{name} contains NaN or infinity in row {int(np.argmax(bad))}; every value must be finite.")
    return array


def as_scores(values: ArrayLike, name: str = "scores") -> Floats:
    """Return a 1-D float array without NaN, or raise `InputError`."""
    array = np.asarray(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"{name} must be numbers [N], but came as {array.dtype} {list(array.shape)}.")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    bad = np.isnan(array)
    if bad.any():
        raise InputError(f"{name} contains NaN at index {int(np.argmax(bad))}; every score must be a number.")
    return array


def as_flags(values: ArrayLike, count: int, name: str) -> NDArray[np.bool_]:
    """Return a bool array [count] from true/false or 1/0, or raise `InputError`."""
    array = np.asarray(values)
    if array.shape != (count,):
        raise InputError(f"{name} must be [{count}], one for each of {count} scores, but came as {list(array.shape)}.")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} must be true or false (1 or 0), but contains other values.")
    return array.astype(np.bool_)


def as_share(value: float, name: str) -> float:
    """Return a number strictly between 0 and 1, or raise `InputError`."""
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} must lie strictly between 0 and 1, but is {value}.")
    return float(value)


def as_classes(labels: ArrayLike, num_classes: int, name: str = "label", least: int = 0) -> Ints:
    """Return whole numbers [N] from ``least`` to C-1, or raise `InputError`."""
    array = as_labels(labels, f"{name}s")
    outside = (array < least) | (array >= num_classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"{name} {array[row]} in row {row} is outside {least}..{num_classes - 1}.")
    return array


def check_part(part: tuple[int, int]) -> None:
    """Raise `InputError` unless ``part`` is (i, n), the i-th of n parts."""
    if not 0 <= part[0] < part[1]:
        raise InputError(f"part must be (i, n) with 0 <= i < n, but is {part}.")


def sums_by_group(values: NDArray[Any], groups: Ints, count: int) -> NDArray[Any]:
    """Return the sums [count, ...] of the rows of ``values`` [N, ...] in each group; ``groups`` [N] are 0..count-1."""
    sums = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
    np.add.at(sums, groups, values)
    return sums


def unit(vectors: Floats) -> Floats:
    """Divide rows by their Euclidean norm, in single precision at least; zero rows stay zero."""
    if vectors.dtype == np.float16:
        vectors = vectors.astype(np.float32)
    # Rescale first: squares of very large or small numbers would overflow or underflow.
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    scaled = vectors / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norms > 0, norms, 1)
