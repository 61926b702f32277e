"""Divide images into folds: whole groups stay together, or whole classes do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Indices = NDArray[np.intp]

FOLDS = 3
FEW_CLASSES, REPEATS = 12, 3
"""With fewer classes than this, unseen classes are drawn several times, as one draw would tell little."""

FEWEST_CLASSES = 4
"""With fewer classes there are not two unseen ones beside two seen ones, and nothing can be told."""


def grouped_folds(labels: Labels, groups: Labels, seed: int) -> list[tuple[Indices, Indices]]:
    """Return (fitted, held out) indices of each fold; no group is divided, and classes are spread evenly.

    A class of one group is held out in one fold, where it is unknown. Empty with fewer than two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    largest = max(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    count = min(FOLDS, largest)
    if count < 2:
        return []
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer groups than folds is held out in fewer of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(splitter.split(np.zeros(len(labels)), labels, groups))
    return [(fitted, held) for fitted, held in folds if len(fitted) and len(held)]


def class_folds(labels: Labels, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield (images of seen classes, images of unseen classes); each class is unseen equally often.

    Nothing is yielded with fewer than `FEWEST_CLASSES` classes.
    """
    classes = np.unique(labels)
    if len(classes) < FEWEST_CLASSES:
        return
    generator = np.random.default_rng(seed)
    for _ in range(REPEATS if len(classes) < FEW_CLASSES else 1):
        for hidden in np.array_split(generator.permutation(classes), min(FOLDS, len(classes) // 2)):
            unseen = np.isin(labels, hidden)
            yield np.flatnonzero(~unseen), np.flatnonzero(unseen)
