"""Halves of the classes of a data set, and two data sets as the halves of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steradian.data.pixels import PixelSet, subset
from steradian.data.preprocessing import statistics
from steradian.data.splits import Splits
from steradian.errors import UsageError, did_you_mean
from steradian.training.prepared import Prepared

Half = Literal["A", "B"]
HALVES: tuple[Half, Half] = ("A", "B")


def halves_of(classes: Sequence[str], seed: int, half: Sequence[str] = ()) -> dict[Half, NDArray[np.bool_]]:
    """Which classes belong to each half, bool [C]: a random half by ``seed``, or those named in ``half`` and the rest.

    Raises:
        UsageError: a name that is no class; a half with fewer than two classes.
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
            f"Halves of {first.sum()} and {(~first).sum()} classes: each needs two or more to tell apart. "
            "Take data with four classes or more."
        )
    return {"A": first, "B": ~first}


def of_classes(prepared: Prepared, classes: NDArray[np.bool_], images: int | None, seed: int) -> Prepared:
    """The data of the chosen classes, bool [C], with ``images`` training images or all, preprocessed as all are."""
    pixels, splits = prepared.pixels, prepared.splits
    inside = classes[pixels.labels]
    chosen = np.flatnonzero(inside)
    place = np.full(len(pixels), -1)
    place[chosen] = np.arange(len(chosen))
    parts = {name: place[part[inside[part]]] for name, part in vars(splits).items()}
    own = subset(pixels, chosen)
    if images is not None and images < len(parts["train"]):
        parts["train"] = _spread_over_classes(own.labels, parts["train"], images, seed)
    return replace(prepared, pixels=own, splits=Splits(**parts), digest=own.digest(), unseen=None)


def _spread_over_classes(labels: NDArray[np.int64], pool: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """``count`` of the pool, of each class as many as of any other, as far as it goes."""
    shuffled = np.random.default_rng([seed, 2]).permutation(pool)
    turn = np.empty(len(shuffled), dtype=np.int64)
    for label in np.unique(labels[shuffled]):
        members = np.flatnonzero(labels[shuffled] == label)
        turn[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:count]])


def joined(first: Prepared, second: Prepared) -> Prepared:
    """Both sets of images as one; a class of the second has a star after its name."""
    a, b = first.pixels, second.pixels
    if a.channels != b.channels:
        words = {1: "gray", 3: "in color"}
        raise UsageError(
            f"{a.source} is {words[a.channels]} and {b.source} {words[b.channels]}: the same first layer cannot see "
            "both. Convert one of them."
        )
    pixels = PixelSet(
        source=f"{a.source} and {b.source}",
        pixels=np.concatenate([a.pixels, b.pixels]),
        labels=np.concatenate([a.labels, b.labels + len(a.classes)]),
        classes=(*a.classes, *(f"{name}*" for name in b.classes)),
        splits=None,
        names=(*a.names, *b.names),
        skipped=(*a.skipped, *b.skipped),
    )
    parts = {
        name: np.concatenate([part, vars(second.splits)[name] + len(a)]) for name, part in vars(first.splits).items()
    }
    splits = Splits(**parts)
    mean, std = statistics(pixels.pixels, splits.train)
    shape = replace(first.preprocessing, mean=mean, std=std)
    return Prepared(pixels, splits, pixels.digest(), shape, None, (*first.warnings, *second.warnings))
