"""Classes divided over the processes of a group, and the communication between them.

Every process holds the rows of its own classes and the gathered embeddings of all processes. One maximum and one sum
combine the softmax sums over all classes. Only one process holds the own class of a row; a sum distributes its values.
Then every process computes the same loss with the complete gradient. Only the inputs to one process's classes
(`into_shards`) need a sum in the backward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

# Import this now. If the compiler imported it later, its functions would keep the process group as a default argument:
# gloo's threads would outlive destroy_process_group and sometimes abort a process that has finished.
import torch.distributed.nn
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from steradian.errors import InputError
from steradian.losses.process_group import group_device, is_distributed


@dataclass(frozen=True)
class Shard:
    """The classes ``start`` to ``stop`` of ``num_classes``, on process ``rank`` of ``ranks``.

    Each process holds ceil(C / ranks) classes; the last ones may hold fewer or none.
    """

    num_classes: int
    rank: int
    ranks: int

    @property
    def size(self) -> int:
        return -(-self.num_classes // self.ranks)

    @property
    def start(self) -> int:
        return min(self.num_classes, self.rank * self.size)

    @property
    def stop(self) -> int:
        return min(self.num_classes, self.start + self.size)

    def local(self, labels: Tensor) -> Tensor:
        """Return ``labels`` relative to ``start``; -1 for classes of other processes."""
        is_local = (labels >= self.start) & (labels < self.stop)
        return torch.where(is_local, labels - self.start, -1)


def shard_of(num_classes: int, embedding_size: int) -> Shard:
    """Return the shard of this process (all without a group); raise `InputError` if processes disagree on C or D."""
    if not is_distributed():
        return Shard(num_classes, 0, 1)
    shard = Shard(num_classes, distributed.get_rank(), distributed.get_world_size())
    own_sizes = torch.tensor([num_classes, embedding_size], device=group_device())
    all_sizes = [torch.empty_like(own_sizes) for _ in range(shard.ranks)]
    distributed.all_gather(all_sizes, own_sizes)
    for rank, sizes in enumerate(all_sizes):
        if not torch.equal(sizes, own_sizes):
            c, d = sizes.tolist()
            raise InputError(
                f"process {shard.rank} has num_classes={num_classes}, embedding_size={embedding_size}, but process "
                f"{rank} has num_classes={c}, embedding_size={d}. Give all processes the same data and sizes."
            )
    return shard


def gather_batch(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gather embeddings [N, D] and labels [N] of all processes in rank order; batches may differ in size or be empty.

    In the backward pass each process gets the gradient of its own rows.
    """
    sizes = batch_sizes(len(embeddings), embeddings.device)
    if not any(sizes):
        raise InputError("the batches of all processes are empty, but a loss needs at least one row. Check the data.")
    gathered: Tensor = _GatheredRows.apply(embeddings, sizes)
    return gathered, _gather_rows(labels, sizes)


def batch_sizes(count: int, device: torch.device) -> list[int]:
    """Return the number of rows of every process, given ``count`` for this one."""
    counts = torch.empty(distributed.get_world_size(), dtype=torch.int64, device=device)
    distributed.all_gather(list(torch.split(counts, 1)), torch.tensor([count], device=device))
    return counts.tolist()


def own_part(count: int) -> slice:
    """Return the slice of a gathered batch with the ``count`` rows of this process."""
    start = sum(batch_sizes(count, group_device())[: distributed.get_rank()])
    return slice(start, start + count)


@contextlib.contextmanager
def same_draws() -> Iterator[None]:
    """Make random numbers drawn in the block equal on all processes; the generator advances by one draw."""
    seed = torch.randint(2**62, (1,), device=group_device())
    distributed.broadcast(seed, 0)
    with torch.random.fork_rng([torch.cuda.current_device()] if seed.is_cuda else []):
        torch.manual_seed(int(seed))
        yield


def _gather_rows(rows: Tensor, sizes: list[int]) -> Tensor:
    most = max(sizes)
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(gathered, padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


class _GatheredRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        start = sum(sizes[: distributed.get_rank()])
        ctx.own = slice(start, start + len(rows))
        return _gather_rows(rows, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0][ctx.own].contiguous(), None


class _IntoShards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return summed(grad_outputs[0])


def into_shards(value: Tensor) -> Tensor:
    """Return ``value``, which is equal on every process; the backward pass sums its gradient over all processes."""
    entered: Tensor = _IntoShards.apply(value)
    return entered


class _OutOfShards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return summed(part)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def out_of_shards(part: Tensor) -> Tensor:
    """Return the sum of ``part`` over all processes, equal on each."""
    total: Tensor = _OutOfShards.apply(part)
    return total


def out_of_shards_log(log_sum: Tensor) -> Tensor:
    """Combine the logsumexp [N] of each process into that over all classes, with one maximum and one sum."""
    highest = greatest(log_sum.detach())
    reference = torch.where(highest == -torch.inf, 0.0, highest)
    return reference + torch.log(out_of_shards(torch.exp(log_sum - reference)))


def summed(part: Tensor) -> Tensor:
    """Return the sum of ``part`` over all processes, without gradient."""
    total = part.detach().clone().contiguous()
    distributed.all_reduce(total)
    return total


def greatest(part: Tensor) -> Tensor:
    """Return the elementwise maximum of ``part`` over all processes, without gradient."""
    maximum = part.clone().contiguous()
    distributed.all_reduce(maximum, distributed.ReduceOp.MAX)
    return maximum
