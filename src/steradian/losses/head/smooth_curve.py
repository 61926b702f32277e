"""A smooth score of cosines as two polynomials: a network of hundreds of products becomes some thirty.

Values and slopes come from polynomials through the score at Chebyshev nodes of [-1, 0] and [0, 1], exact to single
precision where the score is smooth; whether it is, their last coefficients say. The gradient of the score's parameters
needs no polynomial: what pulls on the logits is gathered on `NODES` evenly spaced cosines, in shares to the two
neighbors, and goes through the score there.
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

DEGREE = 16
NODES = 8192
EXACT = 3e-7
"""Largest of the last coefficients, as a share of the largest of all, at which the rest of the series is nothing."""


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """A `wrong_logits.Curve` of (polynomials [2, DEGREE + 1], values at the nodes [NODES + 1])."""

    score: nn.Module

    def inputs(self, like: Tensor) -> tuple[Tensor, ...] | None:
        """What `__call__` takes beside cosines; None where the score is not smooth enough.

        The values at the nodes carry the gradient to the parameters of the score.
        """
        chebyshev, powers = _bases()
        angles = (torch.arange(DEGREE + 1, dtype=torch.float64) + 0.5) * (math.pi / (DEGREE + 1))
        halves = torch.stack([(angles.cos() - 1.0) / 2.0, (angles.cos() + 1.0) / 2.0]).to(like)
        with torch.no_grad():
            series = self.score(halves).double().cpu() @ chebyshev.T
        if not bool(series[:, -3:].abs().max() <= EXACT * series.abs().max()):
            return None
        nodes = torch.linspace(-1.0, 1.0, NODES + 1, dtype=like.dtype, device=like.device)
        return (series @ powers).to(like), self.score(nodes)

    def __call__(self, cosine: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        """The score of ``cosine``, any shape."""
        value: Tensor = _Polynomials.apply(cosine, *inputs)
        return value


@functools.cache
def _bases() -> tuple[Tensor, Tensor]:
    """Values at Chebyshev nodes -> coefficients, and coefficients -> those of powers; both [DEGREE + 1, DEGREE + 1]."""
    count = DEGREE + 1
    order = torch.arange(count, dtype=torch.float64)
    to_series = torch.cos(order[:, None] * (order + 0.5) * (math.pi / count)) * (2.0 / count)
    to_series[0] *= 0.5
    powers = torch.zeros(count, count, dtype=torch.float64)
    for k in range(count):
        found = np.polynomial.chebyshev.cheb2poly(np.eye(count)[k])
        powers[k, : len(found)] = torch.from_numpy(found)
    return to_series, powers


class _Polynomials(torch.autograd.Function):
    @staticmethod
    def forward(cosine: Tensor, pieces: Tensor, at_nodes: Tensor) -> Tensor:
        low = cosine < 0.0
        place = 2.0 * cosine + torch.where(low, 1.0, -1.0)
        value = torch.where(low, pieces[0, DEGREE], pieces[1, DEGREE])
        for k in range(DEGREE - 1, -1, -1):
            value = value * place + torch.where(low, pieces[0, k], pieces[1, k])
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, Tensor]:
        cosine, pieces, at_nodes = ctx.saved_tensors
        pull = outer[0]
        low = cosine < 0.0
        place = 2.0 * cosine + torch.where(low, 1.0, -1.0)
        slope = torch.where(low, DEGREE * pieces[0, DEGREE], DEGREE * pieces[1, DEGREE])
        for k in range(DEGREE - 1, 0, -1):
            slope = slope * place + torch.where(low, k * pieces[0, k], k * pieces[1, k])
        where = ((cosine + 1.0) * (NODES / 2)).clamp(0.0, NODES - 1e-3)
        left = where.to(torch.int64)
        share = (where - left) * pull
        gathered = torch.zeros_like(at_nodes)
        gathered = gathered.scatter_add(0, left.reshape(-1), (pull - share).reshape(-1))
        gathered = gathered.scatter_add(0, (left + 1).reshape(-1), share.reshape(-1))
        return pull * (2.0 * slope), None, gathered
