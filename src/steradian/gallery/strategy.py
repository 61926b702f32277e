"""Choose by the gallery's own images whether queries are compared with single images or with means."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.search.exact import unit
from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import FEWEST_IDENTITIES

ROUNDS = 3
MOST_IDENTITIES, MOST_IMAGES = 500, 20
"""Most identities, and most images of each, that are compared."""


def choose_strategy(snapshot: Snapshot, seed: int = 0) -> Literal["nearest", "mean"]:
    """Hold out one image of each identity, ask for it, and return the strategy that names more of them right.

    Equal numbers choose the mean. With fewer than `FEWEST_IDENTITIES` that have two images, the answer is "nearest".
    """
    generator = np.random.default_rng(seed)
    numbers, counts = np.unique(snapshot.identities, return_counts=True)
    chosen = generator.permutation(numbers[counts >= 2])[:MOST_IDENTITIES]
    if len(chosen) < FEWEST_IDENTITIES:
        return "nearest"
    order = generator.permutation(len(snapshot.identities))
    order = order[np.isin(snapshot.identities[order], chosen)]
    order = order[np.argsort(snapshot.identities[order], kind="stable")]
    labels = np.unique(snapshot.identities[order], return_inverse=True)[1]
    position = _position_in_class(labels)
    kept = position < MOST_IMAGES
    vectors, labels, position = snapshot.vectors[order[kept]], labels[kept], position[kept]
    sizes = np.bincount(labels)
    nearest = mean = 0
    for number in range(ROUNDS):
        asked = position == number % sizes[labels]
        rest, owners = vectors[~asked], labels[~asked]
        means = np.zeros((len(sizes), vectors.shape[1]))
        np.add.at(means, owners, rest)
        nearest += int((owners[(vectors[asked] @ rest.T).argmax(axis=1)] == labels[asked]).sum())
        mean += int(((vectors[asked] @ unit(means).T).argmax(axis=1) == labels[asked]).sum())
    return "mean" if mean >= nearest else "nearest"


def _position_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of earlier images of the same label; ``labels`` [N] are sorted."""
    starts = np.searchsorted(labels, labels)
    return np.arange(len(labels)) - starts
