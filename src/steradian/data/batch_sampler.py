"""Balanced batches for a ``torch.utils.data.DataLoader``: P classes with K images each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from steradian.data.sampling import balanced_batches, balanced_steps
from steradian.errors import InputError


class BalancedBatchSampler:
    """The ``batch_sampler`` of a data loader whose batches hold P classes with K images each (Hermans et al. 2017).

    Pair losses need several images of each class in a batch. Every class is used once before any is used again, and so
    are the images of a class. The batches depend only on (seed, epoch); the epoch advances with every pass.

    Args:
        labels: int [N], the label of each item of the data set.
        batch_size: P x K; P is ``batch_size // images_per_class``.
        images_per_class: K.
        seed: of the shuffling.
        rank, world_size: of this process in a group; each takes other batches.

    >>> sampler = BalancedBatchSampler([0, 0, 0, 1, 1, 1], batch_size=4, images_per_class=2)
    >>> [len(batch) for batch in sampler]
    [4, 4]
    """

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: int,
        images_per_class: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.labels = np.asarray(labels)
        if self.labels.ndim != 1 or not np.issubdtype(self.labels.dtype, np.integer):
            raise InputError(
                f"labels must be integers [N], one for each item, but are {self.labels.dtype} {self.labels.shape}."
            )
        if not 0 <= rank < world_size:
            raise InputError(f"rank must be in 0..world_size-1 = {world_size - 1}, but is {rank}.")
        self.batch_size, self.images_per_class, self.seed = batch_size, images_per_class, seed
        self.rank, self.world_size, self.epoch = rank, world_size, 0
        self._steps = balanced_steps(self.labels, batch_size, images_per_class)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, to repeat or to resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._steps // self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        batches = balanced_batches(self.labels, self.batch_size, self.images_per_class, self.seed, self.epoch)
        self.epoch += 1
        for number in range(len(self)):
            yield batches[number * self.world_size + self.rank].tolist()
