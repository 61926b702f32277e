"""A smooth score of cosines as two polynomials: a network of hundreds of products becomes some thirty.

Values, slopes and the gradient of the score's parameters come from polynomials through the score at Chebyshev nodes of
[-1, 0] and [0, 1], exact to single precision where the score is smooth; whether it is, their last coefficients say.
What pulls on the logits reaches the parameters through the polynomials' coefficients.
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
"""The lowest that is exact is taken."""

NODES = DEGREES[-1] + 1
EXACT = 3e-7
"""The coefficients that are left out, as a share of the largest, at which they are nothing."""


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """A `wrong_logits.Curve` of the coefficients of its two polynomials, [2, degree + 1], lowest power first."""

    score: nn.Module

    def inputs(self, like: Tensor) -> tuple[Tensor, ...] | None:
        """What `__call__` takes beside cosines, with a gradient to the score; None where that is not smooth enough."""
        chebyshev, powers = (basis.to(like.device) for basis in _bases())
        angles = (torch.arange(NODES, dtype=torch.float64) + 0.5) * (math.pi / NODES)
        halves = torch.stack([(angles.cos() - 1.0) / 2.0, (angles.cos() + 1.0) / 2.0]).to(like)
        series = self.score(halves).double() @ chebyshev.T
        sizes = (series.detach().abs() / series.detach().abs().max()).amax(dim=0)
        # Of the highest degree, too, some coefficients must be nothing, or there may be more behind them.
        degree = next((degree for degree in DEGREES if bool(sizes[degree - 1 :].max() <= EXACT)), None)
        if degree is None:
            return None
        return ((series[:, : degree + 1] @ powers[: degree + 1, : degree + 1]).to(like),)

    def __call__(self, cosine: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        """The score of ``cosine`` [N, c]."""
        value: Tensor = _Polynomials.apply(cosine, *inputs)
        return value


@functools.cache
def _bases() -> tuple[Tensor, Tensor]:
    """Values at Chebyshev nodes -> coefficients, and coefficients -> those of powers; both [NODES, NODES]."""
    order = torch.arange(NODES, dtype=torch.float64)
    to_series = torch.cos(order[:, None] * (order + 0.5) * (math.pi / NODES)) * (2.0 / NODES)
    to_series[0] *= 0.5
    powers = torch.zeros(NODES, NODES, dtype=torch.float64)
    for k in range(NODES):
        found = np.polynomial.chebyshev.cheb2poly(np.eye(NODES)[k])
        powers[k, : len(found)] = torch.from_numpy(found)
    return to_series, powers


def _evaluate(pieces: Tensor, low: Tensor, place: Tensor) -> Tensor:
    """The polynomial ``pieces[0]`` where ``low``, else ``pieces[1]``, even and odd powers apart: shorter chains."""
    square = place * place
    halves = []
    for first in (0, 1):
        *rest, top = range(first, pieces.shape[1], 2)
        value = torch.where(low, pieces[0, top], pieces[1, top])
        for k in reversed(rest):
            value = value * square + torch.where(low, pieces[0, k], pieces[1, k])
        halves.append(value)
    return halves[1] * place + halves[0]


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
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor]:
        cosine, pieces = ctx.saved_tensors
        pull = outer[0]
        low = cosine < 0.0
        place = 2.0 * cosine + torch.where(low, 1.0, -1.0)
        order = torch.arange(1, pieces.shape[1], dtype=pieces.dtype, device=pieces.device)
        slope = _evaluate(2.0 * order * pieces[:, 1:], low, place)
        # Sums along rows, which a compiler makes of one sweep.
        square = place * place
        moments: list[Tensor] = []
        powers = [torch.where(low, pull, 0.0), torch.where(low, 0.0, pull)]
        powers += [power * place for power in powers]
        while len(moments) < pieces.numel():
            moments += [power.sum(dim=1) for power in powers]
            powers = [power * square for power in powers]
        return pull * slope, torch.stack(moments).sum(dim=1).view(-1, 2).T
