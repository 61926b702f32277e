"""The process group that torch.distributed has set up, if any: who this process is, and what all of them agree on."""

from __future__ import annotations

import torch
from torch import distributed


def is_distributed() -> bool:
    """Return whether this process belongs to a group."""
    return distributed.is_available() and distributed.is_initialized()


def group_device() -> torch.device:
    """Return the device on which the backend of the group communicates."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def rank() -> int:
    """Return the number of this process in the group; 0 without a group."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes in the group; 1 without a group."""
    return distributed.get_world_size() if is_distributed() else 1


def any_rank(value: bool) -> bool:
    """Return whether ``value`` is true on any process."""
    return bool(largest(int(value)))


def largest(value: int) -> int:
    """Return the largest ``value`` of all processes."""
    if not is_distributed():
        return value
    shared = torch.tensor([value], device=group_device())
    distributed.all_reduce(shared, distributed.ReduceOp.MAX)
    return int(shared.item())
