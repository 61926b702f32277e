"""Which images form the batches of an epoch: a function of (seed, epoch), so that any step can be resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError

Indices = NDArray[np.intp]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of batches that hold ``count`` images, none of them a single image where two are to be had."""
    steps = math.ceil(count / batch_size)
    return max(1, count // 2) if steps > 1 and count // steps < 2 else steps


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[Indices]:
    """All positions 0..count-1 once, shuffled by (seed, epoch), in batches of nearly equal size.

    Sizes differ by at most one and are at least two, as batch normalization needs something to average; for that
    a batch may exceed ``batch_size`` by one.
    """
    if count < 1 or batch_size < 1:
        raise InputError(f"{count} images in batches of {batch_size}: both must be at least 1.")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.array_split(order, steps_per_epoch(count, batch_size))


def weighted_batches(labels: NDArray[np.int64], batch_size: int, power: float, seed: int, epoch: int) -> list[Indices]:
    """An epoch in which a class of n images has a share of images that goes with n**power; a function of (seed, epoch).

    0 holds as many of each class, 1 each image once. As many images as there are, in batches as of `epoch_batches`:
    the images of a class take turns, so that those of small classes come several times and large ones in part.
    """
    rng = np.random.default_rng([seed, epoch])
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    weights = np.array([float(len(group)) ** power for group in members])
    # Rounding the running sum by one random offset gives each class its share on the average over epochs.
    shares = np.concatenate([[0.0], np.cumsum(weights / weights.sum())[:-1], [1.0]])
    edges = np.floor(shares * len(labels) + rng.random())
    counts = np.diff(edges).astype(int)
    drawn = []
    for group, count in zip(members, counts, strict=True):
        turns = _turns(rng, group)
        drawn += [next(turns) for _ in range(count)]
    found = rng.permutation(np.array(drawn, dtype=np.intp))
    return np.array_split(found, steps_per_epoch(len(labels), batch_size))


def epoch_length(labels: NDArray[np.int64], batch_size: int, images_per_class: int | None) -> int:
    """Number of batches that an epoch of the images with ``labels`` has; None: shuffled, else class-balanced."""
    if images_per_class is None:
        return steps_per_epoch(len(labels), batch_size)
    return balanced_steps(labels, batch_size, images_per_class)


def balanced_batches(
    labels: NDArray[np.int64], batch_size: int, images_per_class: int, seed: int, epoch: int
) -> list[Indices]:
    """Batches of P classes by K images each, for losses of pairs; a function of (seed, epoch).

    P = batch_size // K, at most the number of classes. Classes take turns, each once before any comes again, and so do
    the images of a class: a class with fewer than K images repeats them, and large classes are seen in part. There are
    `balanced_steps` batches, which together hold about as many images as there are.

    Args:
        labels: [N] of all images.
        batch_size: room for images in a batch, at least 2 K.
        images_per_class: K, at least 1.

    Returns:
        Positions [P * K] into ``labels`` for each batch, the images of a class next to each other.
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
    """Number of `balanced_batches` of an epoch: N / (P K), rounded up."""
    if len(labels) < 1 or images_per_class < 1 or batch_size < 2 * images_per_class:
        raise InputError(
            f"{len(labels)} images in batches of {batch_size} with {images_per_class} of a class: there must be "
            f"images, and room for two classes in a batch. Use a batch size of at least {2 * images_per_class}."
        )
    classes = min(len(np.unique(labels)), batch_size // images_per_class)
    return math.ceil(len(labels) / (classes * images_per_class))


def _turns(rng: np.random.Generator, items: NDArray[np.intp]) -> Iterator[int]:
    """Items one after another, in a new order each time round."""
    while True:
        yield from rng.permutation(items).tolist()


def _distinct(turns: Iterator[int], count: int) -> list[int]:
    """The next ``count`` different items; those that come twice are skipped."""
    found: dict[int, None] = {}
    while len(found) < count:
        found[next(turns)] = None
    return list(found)


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each training step, so that views do not depend on what ran before."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
