"""Choose the images of each batch. The choice depends only on (seed, epoch), so training can resume anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError

Indices = NDArray[np.intp]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of batches for ``count`` images; no batch is a single image if that can be avoided."""
    steps = math.ceil(count / batch_size)
    return max(1, count // 2) if steps > 1 and count // steps < 2 else steps


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[Indices]:
    """Return the indices 0..count-1, shuffled by (seed, epoch), in batches of nearly equal size.

    Sizes differ by at most one and are at least two, because batch normalization needs two images; therefore a
    batch may exceed ``batch_size`` by one.
    """
    if count < 1 or batch_size < 1:
        raise InputError(f"{count} images in batches of {batch_size}: both must be at least 1.")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.array_split(order, steps_per_epoch(count, batch_size))


def weighted_batches(labels: NDArray[np.int64], batch_size: int, power: float, seed: int, epoch: int) -> list[Indices]:
    """Return an epoch in which the share of a class of n images is proportional to n**power, by (seed, epoch).

    Power 0 gives all classes equally many images; power 1 uses each image once. The epoch has as many images as the
    set, in batches as from `epoch_batches`. Images of small classes are repeated; large classes are used in part.
    """
    rng = np.random.default_rng([seed, epoch])
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    weights = np.array([float(len(group)) ** power for group in members])
    # Rounding the cumulative sum with one random offset gives each class its share on average over epochs.
    shares = np.concatenate([[0.0], np.cumsum(weights / weights.sum())[:-1], [1.0]])
    edges = np.floor(shares * len(labels) + rng.random())
    counts = np.diff(edges).astype(int)
    drawn = []
    for group, count in zip(members, counts, strict=True):
        turns = _turns(rng, group)
        drawn += [next(turns) for _ in range(count)]
    indices = rng.permutation(np.array(drawn, dtype=np.intp))
    return np.array_split(indices, steps_per_epoch(len(labels), batch_size))


def epoch_length(labels: NDArray[np.int64], batch_size: int, images_per_class: int | None) -> int:
    """Return the number of batches in an epoch: class-balanced, or shuffled if ``images_per_class`` is None."""
    if images_per_class is None:
        return steps_per_epoch(len(labels), batch_size)
    return balanced_steps(labels, batch_size, images_per_class)


def balanced_batches(
    labels: NDArray[np.int64], batch_size: int, images_per_class: int, seed: int, epoch: int
) -> list[Indices]:
    """Return batches of P classes with K = ``images_per_class`` images each, as indices [P * K] into ``labels``.

    P = batch_size // K, at most the number of classes. Each class is used once before any is used again, and so are the
    images of a class: a class with fewer than K images repeats them, and a large class is used in part. There are
    `balanced_steps` batches, which together hold about as many images as the set. They depend only on (seed, epoch).
    """
    steps = balanced_steps(labels, batch_size, images_per_class)
    rng = np.random.default_rng([seed, epoch])
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    images = [_turns(rng, group) for group in members]
    classes = _turns(rng, np.arange(len(members)))
    count = min(len(members), batch_size // images_per_class)
    batches = []
    for _ in range(steps):
        chosen = _distinct(classes, count)
        groups = [_distinct(images[index], min(images_per_class, len(members[index]))) for index in chosen]
        batches.append(np.concatenate([np.resize(group, images_per_class) for group in groups]).astype(np.intp))
    return batches


def balanced_steps(labels: NDArray[np.int64], batch_size: int, images_per_class: int) -> int:
    """Return the number of `balanced_batches` in an epoch: N / (P K), rounded up."""
    if len(labels) < 1 or images_per_class < 1 or batch_size < 2 * images_per_class:
        raise InputError(
            f"{len(labels)} images in batches of {batch_size} with {images_per_class} per class: there must be "
            f"images, and a batch must hold two classes. Use a batch size of at least {2 * images_per_class}."
        )
    classes = min(len(np.unique(labels)), batch_size // images_per_class)
    return math.ceil(len(labels) / (classes * images_per_class))


def _turns(rng: np.random.Generator, items: NDArray[np.intp]) -> Iterator[int]:
    """Yield all items in random order, endlessly, with a new order in each pass."""
    while True:
        yield from rng.permutation(items).tolist()


def _distinct(turns: Iterator[int], count: int) -> list[int]:
    """Return the next ``count`` different items; repeated ones are skipped."""
    items: dict[int, None] = {}
    while len(items) < count:
        items[next(turns)] = None
    return list(items)


def step_seed(seed: int, step: int) -> int:
    """Return a separate seed for each training step, so that views do not depend on earlier steps."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
