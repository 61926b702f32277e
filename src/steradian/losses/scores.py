"""Monotone scores of the cosine: the logit f(cos theta) of system A's hyperspherical softmax.

A strictly increasing score ranks classes as the cosine does, but changes losses, gradients and probabilities. Softmax
ignores an additive constant, so a score has one only where the published score has one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.losses.ranges import in_range

HIDDEN = 16


class StrictScore(nn.Module):
    """f(c) = a c + g(c): strictly increasing; the data decides where it is convex or concave.

    a > 0, and g is a 1-16-16-1 network whose weights are positive by construction (softplus), with three kinds
    of units: convex softplus(z), concave -softplus(-z), bounded tanh(z) (constrained monotonic networks, Runje and
    Shankaranarayana 2023). Convex units alone would make f convex; projected weights would only make it non-decreasing.

    Args:
        slope: initial a; g is small compared with it at first.
    """

    LEAST_SLOPE = 1e-2
    """Large enough that cosines 1e-3 apart stay distinct in float32 for f up to 60; closer ones may tie, never swap."""

    def __init__(self, slope: float = 16.0) -> None:
        super().__init__()
        in_range("slope", slope, 1e-3, 1e6, "initial slope of the score")
        self.raw_slope = nn.Parameter(torch.tensor(_inverse_softplus(slope)))
        start = _inverse_softplus(1.0 / HIDDEN)
        self.raw_first = nn.Parameter(torch.full((HIDDEN, 1), _inverse_softplus(2.0)) + 0.2 * torch.randn(HIDDEN, 1))
        self.raw_second = nn.Parameter(start + 0.2 * torch.randn(HIDDEN, HIDDEN))
        self.raw_third = nn.Parameter(start + 0.2 * torch.randn(1, HIDDEN))
        # Spread the bends of the units over the range of cosines.
        self.first_bias = nn.Parameter(torch.linspace(2.0, -2.0, HIDDEN)[torch.randperm(HIDDEN)])
        self.second_bias = nn.Parameter(torch.linspace(-1.0, 1.0, HIDDEN)[torch.randperm(HIDDEN)])

    @property
    def slope(self) -> Tensor:
        """a, a lower limit of the slope of f for any weights of g."""
        return functional.softplus(self.raw_slope) + self.LEAST_SLOPE

    def forward(self, cosine: Tensor) -> Tensor:
        """Return f of cosines, any shape."""
        hidden = functional.linear(cosine[..., None], functional.softplus(self.raw_first), self.first_bias)
        hidden = functional.linear(_activate(hidden), functional.softplus(self.raw_second), self.second_bias)
        curved = functional.linear(_activate(hidden), functional.softplus(self.raw_third))
        return self.slope * cosine + curved.squeeze(-1)


def _activate(hidden: Tensor) -> Tensor:
    """Apply convex, concave and bounded activations to about a third of the units each."""
    third = HIDDEN // 3
    convex, concave, bounded = torch.split(hidden, [third, third, HIDDEN - 2 * third], dim=-1)
    return torch.cat([functional.softplus(convex), -functional.softplus(-concave), torch.tanh(bounded)], dim=-1)


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))


class ProjectedScore(nn.Module):
    """System A's third score as published: 1-16-16-1 with ReLU6, ReLU6, ReLU and weights projected to >= 0.

    It never decreases, but has flat parts where the gradient is exactly 0 and cosines tie. `project` sets negative
    weights to 0 before each training step (the published code does it after each, so only the first step differs).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(1, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)
        for layer in (self.first, self.second, self.third):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, cosine: Tensor) -> Tensor:
        """Return f of cosines, any shape."""
        hidden = functional.relu6(_non_negative(self.first, cosine[..., None]))
        hidden = functional.relu6(_non_negative(self.second, hidden))
        return functional.relu(_non_negative(self.third, hidden)).squeeze(-1)

    @torch.no_grad()
    def project(self) -> None:
        """Set negative weights to 0."""
        for layer in (self.first, self.second, self.third):
            # Write only if needed: the graph of an earlier pass may still need these weights unchanged.
            if bool((layer.weight < 0.0).any()):
                layer.weight.clamp_(min=0.0)


def _non_negative(layer: nn.Linear, values: Tensor) -> Tensor:
    """Apply ``layer`` with negative weights treated as 0, without changing the weights."""
    fixed = layer.weight.detach()
    return functional.linear(values, layer.weight + (fixed.clamp(min=0.0) - fixed), layer.bias)


class PowerScore(nn.Module):
    """System A's first score: (c + 1)^P with one learned P, initially 1, clamped to [0.1, 10]; scaled by the norm."""

    LEAST, MOST = 0.1, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(1.0))

    def forward(self, cosine: Tensor) -> Tensor:
        """Return f of cosines, any shape."""
        base = cosine + 1.0
        positive = base.detach().clamp(min=torch.finfo(base.dtype).eps)
        # Exact value, but the gradient is taken away from 0, where it is infinite for P < 1.
        safe = positive + (base - base.detach())
        value = safe ** self.power.clamp(self.LEAST, self.MOST)
        return torch.where(base > 0.0, value, value - value.detach())
