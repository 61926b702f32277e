"""Which images form the batches of an epoch: a function of (seed, epoch), so that any step can be resumed."""

from __future__ import annotations

import math

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


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each training step, so that views do not depend on what ran before."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
