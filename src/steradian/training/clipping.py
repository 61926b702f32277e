"""Clip the joint norm of all gradients: dense, sparse, and sharded over processes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from steradian.training import distributed


def clip_gradients(replicated: list[nn.Parameter], divided: list[nn.Parameter], limit: float | None) -> float:
    """Scale all gradients so that their joint norm is at most ``limit``; return the norm before.

    Args:
        replicated: parameters whose gradient is the same on every process.
        divided: parameters of which every process holds another part.
    """
    shared, local = _values(replicated), _values(divided)
    if distributed.world_size() > 1:
        local_norm, shared_norm = (float(nn.utils.get_total_norm(grads)) if grads else 0.0 for grads in (local, shared))
        (squares,) = distributed.total([local_norm**2])
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
    return [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
