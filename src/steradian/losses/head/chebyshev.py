"""A smooth score of cosines as a polynomial: a network of hundreds of products becomes some thirty.

f(c) = sum_k a_k T_k(c) with T_0 = 1, T_1 = c, T_{k+1} = 2 c T_k - T_{k-1}. The coefficients come from the values of f at
the Chebyshev nodes, so gradients go through them to the parameters of f.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

DEGREE = 32
EXACT = 1e-7
"""Largest of the last coefficients, as a share of the largest of all, at which the rest of the series is nothing."""


def coefficients(score: nn.Module, like: Tensor) -> Tensor:
    """a_k, [DEGREE + 1], of the polynomial through ``score`` at the Chebyshev nodes; differentiable."""
    count = DEGREE + 1
    angles = (torch.arange(count, dtype=torch.float64, device=like.device) + 0.5) * (math.pi / count)
    values = score(torch.cos(angles).to(like.dtype))
    order = torch.arange(count, dtype=torch.float64, device=like.device)
    basis = torch.cos(order[:, None] * angles) * (2.0 / count)
    basis[0] *= 0.5
    found: Tensor = basis.to(like.dtype) @ values
    return found


def converged(found: Tensor) -> bool:
    """Whether the polynomial is the score to single precision."""
    sizes = found.detach().abs()
    return bool(sizes[-4:].max() <= EXACT * sizes.max())


class _Polynomial(torch.autograd.Function):
    @staticmethod
    def forward(cosine: Tensor, found: Tensor) -> Tensor:
        before, now = torch.ones_like(cosine), cosine
        value = found[0] + found[1] * cosine
        for k in range(2, DEGREE + 1):
            before, now = now, 2.0 * cosine * now - before
            value = value + found[k] * now
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor]:
        cosine, found = ctx.saved_tensors
        pull = outer[0]
        # T_k' = k U_{k-1}, and U follows the recurrence of T from U_0 = 1, U_1 = 2 c.
        before, now = torch.ones_like(cosine), cosine
        slope_before, slope_now = torch.zeros_like(cosine), torch.ones_like(cosine)
        slope = found[1] * slope_now
        moments = [pull.sum(), (pull * now).sum()]
        for k in range(2, DEGREE + 1):
            before, now = now, 2.0 * cosine * now - before
            slope_before, slope_now = slope_now, 2.0 * cosine * slope_now - slope_before
            slope = slope + (k * found[k]) * slope_now
            moments.append((pull * now).sum())
        return pull * slope, torch.stack(moments)


def polynomial(cosine: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
    """The `Curve` of `coefficients`."""
    value: Tensor = _Polynomial.apply(cosine, *parameters)
    return value
