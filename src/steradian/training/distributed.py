"""Train in several processes, started by torchrun, with gloo on the CPU or NCCL on GPUs.

Each process embeds its part of one global batch per step. The class centers are sharded (`losses.head.sharded`);
encoder and neck are replicated, and their gradients are summed. So the batch size of a recipe means the same on any
number of processes. Two things differ: batch norm sees only the part of the batch in its process, and each process
draws the random views of its own part.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed, nn

from steradian.data.images import Labels
from steradian.errors import TrainingError
from steradian.losses.process_group import any_rank as any_rank
from steradian.losses.process_group import group_device, is_distributed
from steradian.losses.process_group import rank as rank
from steradian.losses.process_group import world_size as world_size
from steradian.training.sharded_encoder import local

PATIENCE = datetime.timedelta(minutes=10)
"""The timeout for a process that does not respond."""

BUCKET = 2**24
"""Gradients are summed in buckets of about this many values."""

LOST = (
    "Connection closed",
    "Timed out",
    "Connection reset",
    "Application timeout",
    "ncclRemoteError",
    "Socket Timeout",
)


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that torchrun's variables describe, if any. `TrainingError`: another process is lost."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or is_distributed():
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in LOST):
            raise
        raise TrainingError(
            "Another process of the group stopped (see its own message), was killed, or did not answer for "
            f"{PATIENCE.total_seconds() / 60:g} minutes. The last checkpoint is complete; the same command "
            "resumes from it, with any number of processes."
        ) from error
    finally:
        distributed.destroy_process_group()


def is_rank_zero() -> bool:
    """Return whether this process writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        distributed.barrier()


def part_of(batch: Labels) -> slice:
    """Return the part of a global batch that this process embeds: at least two images, or none."""
    active = max(1, min(world_size(), len(batch) // 2))
    if rank() >= active:
        return slice(0, 0)
    bounds = [len(batch) * number // active for number in range(active + 1)]
    return slice(bounds[rank()], bounds[rank() + 1])


def total(values: list[float]) -> list[float]:
    """Sum each of ``values`` over all processes."""
    if not is_distributed():
        return values
    sums = torch.tensor(values, dtype=torch.float64, device=group_device())
    distributed.all_reduce(sums)
    result: list[float] = sums.tolist()
    return result


def broadcast_text(text: str) -> str:
    """Return the ``text`` of rank zero, on every process."""
    if not is_distributed():
        return text
    holder = torch.zeros(4096, dtype=torch.uint8, device=group_device())
    encoded = text.encode()
    holder[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8, device=group_device())
    distributed.broadcast(holder, 0)
    return bytes(holder.tolist()).rstrip(b"\0").decode()


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over all processes; a missing gradient counts as zero."""
    if not is_distributed():
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if sum(gradient.numel() for gradient in bucket) >= BUCKET:
            _all_reduce_flat(bucket)
            bucket = []
    _all_reduce_flat(bucket)


def _all_reduce_flat(tensors: list[Tensor]) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def clip_gradients(replicated: list[nn.Parameter], divided: list[nn.Parameter], limit: float | None) -> float:
    """Scale all gradients so that their joint norm is at most ``limit``; return the norm before.

    The gradients of ``replicated`` are the same on every process; of ``divided``, every process holds another part.
    """
    shared, local = _values(replicated), _values(divided)
    if world_size() > 1:
        local_norm, shared_norm = (float(nn.utils.get_total_norm(grads)) if grads else 0.0 for grads in (local, shared))
        (squares,) = total([local_norm**2])
        norm = torch.tensor(math.sqrt(squares + shared_norm**2))
    else:
        norm = nn.utils.get_total_norm([*shared, *local], foreach=True) if shared or local else torch.zeros(())
    if limit is not None and (shared or local):
        factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
        torch._foreach_mul_([*shared, *local], factor.to((shared or local)[0].device))
    return float(norm)


def _values(parameters: list[nn.Parameter]) -> list[Tensor]:
    """Return the values of each gradient; for a sparse one, those of its stored rows."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return [gradient._values() if gradient.is_sparse else local(gradient) for gradient in gradients]


def average_buffers(*modules: nn.Module) -> None:
    """Replace running statistics by their mean over all processes, as each has seen its part of every batch."""
    if not is_distributed():
        return
    buffers = [buffer for module in modules for buffer in module.buffers() if buffer.is_floating_point()]
    _all_reduce_flat(buffers)
    for buffer in buffers:
        buffer /= world_size()
