"""Split the classes of a data set into halves, or join two data sets as the halves of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steradian.data.pixels import joined as joined_pixels
from steradian.data.pixels import subset
from steradian.data.splits import Splits
from steradian.errors import UsageError, did_you_mean
from steradian.training.dataset import TrainingData

Half = Literal["A", "B"]
HALVES: tuple[Half, Half] = ("A", "B")


def halves_of(classes: Sequence[str], seed: int, half: Sequence[str] = ()) -> dict[Half, NDArray[np.bool_]]:
    """Return the classes of each half, bool [C]: a random split by ``seed``, or the names in ``half`` and all others.

    Raises:
        UsageError: a name is not a class, or a half has fewer than two classes.
    """
    if half:
        for name in half:
            if name not in classes:
                raise UsageError(f"There is no class {name!r} to split by. {did_you_mean(name, classes)}")
        first = np.isin(np.array(classes), np.array(half))
    else:
        first = np.zeros(len(classes), dtype=bool)
        first[np.random.default_rng(seed).permutation(len(classes))[: len(classes) // 2]] = True
    if min(first.sum(), (~first).sum()) < 2:
        raise UsageError(
            f"Halves of {first.sum()} and {(~first).sum()} classes are too small: each needs at least two. "
            "Use data with at least four classes."
        )
    return {"A": first, "B": ~first}


def of_classes(data: TrainingData, classes: NDArray[np.bool_], images: int | None, seed: int) -> TrainingData:
    """Return the data of ``classes``, bool [C], with ``images`` training images (None: all), preprocessed as before."""
    pixels, splits = data.pixels, data.splits
    inside = classes[pixels.labels]
    chosen = np.flatnonzero(inside)
    new_index = np.full(len(pixels), -1)
    new_index[chosen] = np.arange(len(chosen))
    parts = {name: new_index[part[inside[part]]] for name, part in vars(splits).items()}
    subset_pixels = subset(pixels, chosen)
    if images is not None and images < len(parts["train"]):
        parts["train"] = _spread_over_classes(subset_pixels.labels, parts["train"], images, seed)
    return replace(data, pixels=subset_pixels, splits=Splits(**parts), digest=subset_pixels.digest(), unseen=None)


def _spread_over_classes(labels: NDArray[np.int64], pool: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Draw ``count`` images of the pool, as evenly over the classes as possible."""
    shuffled = np.random.default_rng([seed, 2]).permutation(pool)
    rank_in_class = np.empty(len(shuffled), dtype=np.int64)
    for label in np.unique(labels[shuffled]):
        members = np.flatnonzero(labels[shuffled] == label)
        rank_in_class[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(rank_in_class, kind="stable")[:count]])


def joined(first: TrainingData, second: TrainingData) -> TrainingData:
    """Join two data sets; class names of the second get a trailing star."""
    a, b = first.pixels, second.pixels
    if a.channels != b.channels:
        kinds = {1: "gray", 3: "in color"}
        raise UsageError(
            f"{a.source} is {kinds[a.channels]} and {b.source} {kinds[b.channels]}: one first layer cannot take "
            "both. Convert one of them."
        )
    pixels = joined_pixels(a, b)
    parts = {
        name: np.concatenate([part, vars(second.splits)[name] + len(a)]) for name, part in vars(first.splits).items()
    }
    splits = Splits(**parts)
    mean, std = pixels.statistics(splits.train)
    shape = replace(first.preprocessing, mean=mean, std=std)
    warnings = (*first.warnings, *second.warnings)
    return TrainingData(pixels, splits, pixels.digest(), shape, None, warnings, reading=first.reading)
