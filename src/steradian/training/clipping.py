"""The norm of all gradients together: dense, sparse, and those of classes that other processes hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from steradian.training import distributed


def clip_gradients(whole: list[nn.Parameter], divided: list[nn.Parameter], limit: float | None) -> float:
    """Scale all gradients so that their norm is at most ``limit``; the norm before.

    Args:
        whole: parameters whose gradient is the same on every process.
        divided: parameters of which every process has a part of its own.
    """
    here, parts = _values(whole), _values(divided)
    if distributed.world_size() > 1:
        own, rest = (float(nn.utils.get_total_norm(some)) if some else 0.0 for some in (parts, here))
        (squares,) = distributed.total([own**2])
        norm = torch.tensor(math.sqrt(squares + rest**2))
    else:
        norm = nn.utils.get_total_norm([*here, *parts], foreach=True) if here or parts else torch.zeros(())
    if limit is not None and (here or parts):
        factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
        torch._foreach_mul_([*here, *parts], factor.to((here or parts)[0].device))
    return float(norm)


def _values(parameters: list[nn.Parameter]) -> list[Tensor]:
    """The numbers of each gradient that there is; of a sparse one, those of its rows."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
