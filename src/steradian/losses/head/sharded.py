"""The classes divided over the processes of a group, and what passes between them.

Every process holds the rows of its own classes and the embeddings of all (gathered). Its softmax sums become those of
all classes by one maximum and one sum; the own class of each row is known to one process, and summed to all. From
there on every process computes the same loss, whose gradient is complete on each: only what enters the classes of
one process (`into_shards`) has to be summed on the way back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

# Imported later (the compiler does), its functions would hold the group as a default argument: gloo's threads would
# outlive destroy_process_group, and end a process that is done with an abort now and then.
import torch.distributed.nn
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from steradian.errors import InputError
from steradian.losses.process_group import group_device, is_distributed


@dataclass(frozen=True)
class Shard:
    """The classes ``start`` to ``stop`` of ``num_classes``, on process ``rank`` of ``ranks``.

    Processes hold ceil(C / ranks) classes each; the last ones may hold fewer, or none.
    """

    num_classes: int
    rank: int
    ranks: int

    @property
    def size(self) -> int:
        """Classes of a full shard."""
        return -(-self.num_classes // self.ranks)

    @property
    def start(self) -> int:
        """First class."""
        return min(self.num_classes, self.rank * self.size)

    @property
    def stop(self) -> int:
        """One past the last class."""
        return min(self.num_classes, self.start + self.size)

    def local(self, labels: Tensor) -> Tensor:
        """``labels`` counted from ``start``; -1 for classes of other processes."""
        here = (labels >= self.start) & (labels < self.stop)
        return torch.where(here, labels - self.start, -1)


def shard_of(num_classes: int, embedding_size: int) -> Shard:
    """The shard of this process; all classes where there is no process group.

    Raises:
        InputError: processes disagree on C or D.
    """
    if not is_distributed():
        return Shard(num_classes, 0, 1)
    shard = Shard(num_classes, distributed.get_rank(), distributed.get_world_size())
    mine = torch.tensor([num_classes, embedding_size], device=group_device())
    all_sizes = [torch.empty_like(mine) for _ in range(shard.ranks)]
    distributed.all_gather(all_sizes, mine)
    for rank, sizes in enumerate(all_sizes):
        if not torch.equal(sizes, mine):
            c, d = sizes.tolist()
            raise InputError(
                f"process {shard.rank} has num_classes={num_classes}, embedding_size={embedding_size}, but process "
                f"{rank} has num_classes={c}, embedding_size={d}. All processes must be given the same data and sizes."
            )
    return shard


def gather_batch(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings [N, D] and labels [N] of all processes, in their order; batches may differ in size or be empty.

    The gradient that comes back to each process is that of its own rows.
    """
    sizes = batch_sizes(len(embeddings), embeddings.device)
    if not any(sizes):
        raise InputError("the batches of all processes are empty: a loss needs at least one row.")
    gathered: Tensor = _GatheredRows.apply(embeddings, sizes)
    return gathered, _gather_rows(labels, sizes)


def batch_sizes(count: int, device: torch.device) -> list[int]:
    """Rows that each process brings, from the ``count`` of this one."""
    counts = torch.empty(distributed.get_world_size(), dtype=torch.int64, device=device)
    distributed.all_gather_into_tensor(counts, torch.tensor([count], device=device))
    sizes: list[int] = counts.tolist()
    return sizes


def own_part(count: int) -> slice:
    """Where in a gathered batch the ``count`` rows of this process are."""
    start = sum(batch_sizes(count, group_device())[: distributed.get_rank()])
    return slice(start, start + count)


@contextlib.contextmanager
def same_draws() -> Iterator[None]:
    """Random numbers drawn in the block are the same on every process; the generator moves on by one draw."""
    seed = torch.randint(2**62, (1,), device=group_device())
    distributed.broadcast(seed, 0)
    with torch.random.fork_rng([torch.cuda.current_device()] if seed.is_cuda else []):
        torch.manual_seed(int(seed))
        yield


def _gather_rows(rows: Tensor, sizes: list[int]) -> Tensor:
    most = max(sizes)
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    everything = rows.new_empty(len(sizes) * most, *rows.shape[1:])
    distributed.all_gather_into_tensor(everything, padded)
    return torch.cat([everything[rank * most : rank * most + size] for rank, size in enumerate(sizes)])


class _GatheredRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        start = sum(sizes[: distributed.get_rank()])
        ctx.own = slice(start, start + len(rows))
        return _gather_rows(rows, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        return outer[0][ctx.own].contiguous(), None


class _IntoShards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> Tensor:
        return summed(outer[0])


def into_shards(value: Tensor) -> Tensor:
    """``value``, the same on every process, where it meets the classes of one: gradients are summed over all."""
    entered: Tensor = _IntoShards.apply(value)
    return entered


class _OutOfShards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return summed(part)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> Tensor:
        return outer[0]


def out_of_shards(part: Tensor) -> Tensor:
    """The sum of the parts of all processes, the same on each."""
    whole: Tensor = _OutOfShards.apply(part)
    return whole


def out_of_shards_log(log_sum: Tensor) -> Tensor:
    """logsumexp [N] over all classes from those over the classes of each process: one maximum, one sum."""
    highest = greatest(log_sum.detach())
    reference = torch.where(highest == -torch.inf, 0.0, highest)
    return reference + torch.log(out_of_shards(torch.exp(log_sum - reference)))


def summed(part: Tensor) -> Tensor:
    """The sum over all processes, without gradient."""
    whole = part.detach().clone().contiguous()
    distributed.all_reduce(whole)
    return whole


def greatest(part: Tensor) -> Tensor:
    """The elementwise maximum over all processes, without gradient."""
    whole = part.clone().contiguous()
    distributed.all_reduce(whole, distributed.ReduceOp.MAX)
    return whole
