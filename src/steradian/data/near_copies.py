"""Find near copies, such as bursts: images whose small gray versions are nearly the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from steradian.data.pixels import PixelSet
from steradian.data.splits import Splits

SIDE, ALIKE = 16, 0.97
"""Pixels per side that are compared, and the correlation of two near copies."""

MOST = 30_000
"""Above this number of images near copies are not looked for: it would take minutes."""

ROWS = 1024

Groups = NDArray[np.int64]


def near_copies(images: PixelSet) -> Groups:
    """Return a number for each image, int64 [N], that near copies of each other share, also by way of others.

    Images without contrast, and those that cannot be decoded, are near copies of nothing.
    """
    small = np.zeros((len(images), SIDE * SIDE), dtype=np.float32)
    for chosen, block in images.blocks(np.arange(len(images)), ROWS):
        small[chosen] = np.stack([_shrunk(image) for image in block]).reshape(len(block), -1)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-3)
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for start in range(0, len(small), ROWS):
        rows, columns = np.nonzero(small[start : start + ROWS] @ small.T >= ALIKE)
        pairs.append(np.stack([rows + start, columns]))
    return connected(len(small), np.concatenate(pairs, axis=1))


def connected(count: int, pairs: NDArray[np.int64]) -> Groups:
    """Return the connected component of each of ``count`` nodes, int64; ``pairs`` [2, P] are joined."""
    rows, columns = pairs
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(count, count))
    groups: Groups = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def without_copies_in_test(splits: Splits, groups: Groups) -> tuple[Splits, int]:
    """Move test images with a near copy among the training images there; return the parts and how many were moved."""
    copied = np.isin(groups[splits.test], groups[splits.train])
    moved = splits.test[copied]
    train = np.sort(np.concatenate([splits.train, moved]))
    return replace(splits, train=train, test=splits.test[~copied]), len(moved)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the gray image as means over `SIDE` x `SIDE` tiles."""
    gray = image.astype(np.float32).mean(axis=0)
    edges = [np.linspace(0, length, SIDE + 1)[:-1].astype(int) for length in gray.shape]
    rows = np.add.reduceat(gray, edges[0], axis=0)
    return np.add.reduceat(rows, edges[1], axis=1)
