"""Approximate a smooth score of cosines by two polynomials: some thirty products instead of a network's hundreds.

Values, slopes and the gradient of the score's parameters come from polynomials that interpolate the score at Chebyshev
nodes of [-1, 0] and [0, 1]. They are exact to single precision if the score is smooth, which their last coefficients
show. Gradients of the logits reach the parameters through the coefficients of the polynomials.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

DEGREES = (11, 15, 23)
"""Polynomial degrees to try; the lowest exact one is used."""

NODES = DEGREES[-1] + 1
EXACT = 3e-7
"""Largest size of negligible coefficients, as a fraction of the largest coefficient."""


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """A `kernels.Curve` whose input is the coefficients of two polynomials [2, degree + 1], lowest first."""

    score: nn.Module

    def inputs(self, like: Tensor) -> tuple[Tensor, ...] | None:
        """Return the coefficients for `__call__`, differentiable; None if the score is not smooth enough."""
        chebyshev, powers = (basis.to(like.device) for basis in _bases())
        angles = (torch.arange(NODES, dtype=torch.float64) + 0.5) * (math.pi / NODES)
        halves = torch.stack([(angles.cos() - 1.0) / 2.0, (angles.cos() + 1.0) / 2.0]).to(like)
        series = self.score(halves).double() @ chebyshev.T
        sizes = (series.detach().abs() / series.detach().abs().max()).amax(dim=0)
        # Also for the highest degree some coefficients must be negligible, or later ones may not be.
        degree = next((degree for degree in DEGREES if bool(sizes[degree - 1 :].max() <= EXACT)), None)
        if degree is None:
            return None
        return ((series[:, : degree + 1] @ powers[: degree + 1, : degree + 1]).to(like),)

    def __call__(self, cosine: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        value: Tensor = _Polynomials.apply(cosine, *inputs)
        return value


@functools.cache
def _bases() -> tuple[Tensor, Tensor]:
    """Return the matrices node values -> Chebyshev series -> powers, both [NODES, NODES]."""
    order = torch.arange(NODES, dtype=torch.float64)
    to_series = torch.cos(order[:, None] * (order + 0.5) * (math.pi / NODES)) * (2.0 / NODES)
    to_series[0] *= 0.5
    powers = torch.zeros(NODES, NODES, dtype=torch.float64)
    for k in range(NODES):
        coefficients = np.polynomial.chebyshev.cheb2poly(np.eye(NODES)[k])
        powers[k, : len(coefficients)] = torch.from_numpy(coefficients)
    return to_series, powers


def _evaluate(pieces: Tensor, low: Tensor, z: Tensor) -> Tensor:
    """Evaluate ``pieces[0]`` where ``low``, else ``pieces[1]``; even and odd powers separately, for shorter chains."""
    square = z * z
    halves = []
    for first in (0, 1):
        *lower, top = range(first, pieces.shape[1], 2)
        value = torch.where(low, pieces[0, top], pieces[1, top])
        for k in reversed(lower):
            value = value * square + torch.where(low, pieces[0, k], pieces[1, k])
        halves.append(value)
    return halves[1] * z + halves[0]


class _Polynomials(torch.autograd.Function):
    @staticmethod
    def forward(cosine: Tensor, pieces: Tensor) -> Tensor:
        low = cosine < 0.0
        return _evaluate(pieces, low, 2.0 * cosine + torch.where(low, 1.0, -1.0))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        cosine, pieces = ctx.saved_tensors
        grad_output = grad_outputs[0]
        low = cosine < 0.0
        z = 2.0 * cosine + torch.where(low, 1.0, -1.0)
        order = torch.arange(1, pieces.shape[1], dtype=pieces.dtype, device=pieces.device)
        slope = _evaluate(2.0 * order * pieces[:, 1:], low, z)
        # Sum along rows, which a compiler fuses into one pass.
        square = z * z
        moments: list[Tensor] = []
        powers = [torch.where(low, grad_output, 0.0), torch.where(low, 0.0, grad_output)]
        powers += [power * z for power in powers]
        while len(moments) < pieces.numel():
            moments += [power.sum(dim=1) for power in powers]
            powers = [power * square for power in powers]
        return grad_output * slope, torch.stack(moments).sum(dim=1).view(-1, 2).T
