"""Monotone scores of the cosine: the logit f(cos theta) of system A's hyperspherical softmax.

A strictly increasing score ranks classes as the cosine does; it changes losses, gradients and probabilities. Softmax
does not see an additive constant, so none is learned where none is published.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.losses.ranges import in_range

HIDDEN = 16


class StrictScore(nn.Module):
    """f(c) = a c + g(c): strictly increasing, convex or concave wherever the data wants it.

    a > 0, and g is a 1-16-16-1 network whose weights are positive by construction (softplus), with units of three
    shapes: convex softplus(z), concave -softplus(-z), bounded tanh(z) (constrained monotonic networks, Runje and
    Shankaranarayana 2023). All-convex units could only make a convex f, projected weights only a non-decreasing one.

    Args:
        slope: a at first; g starts small beside it.
    """

    LEAST_SLOPE = 1e-2
    """Cosines 1e-3 apart stay apart in float32, where f may reach 60; closer ones may tie, but never change places."""

    def __init__(self, slope: float = 16.0) -> None:
        super().__init__()
        in_range("slope", slope, 1e-3, 1e6, "of the score, a scale")
        self.raw_slope = nn.Parameter(torch.tensor(_inverse_softplus(slope)))
        start = _inverse_softplus(1.0 / HIDDEN)
        self.raw_first = nn.Parameter(torch.full((HIDDEN, 1), _inverse_softplus(2.0)) + 0.2 * torch.randn(HIDDEN, 1))
        self.raw_second = nn.Parameter(start + 0.2 * torch.randn(HIDDEN, HIDDEN))
        self.raw_third = nn.Parameter(start + 0.2 * torch.randn(1, HIDDEN))
        # Knees spread over the cosines at once.
        self.first_bias = nn.Parameter(torch.linspace(2.0, -2.0, HIDDEN)[torch.randperm(HIDDEN)])
        self.second_bias = nn.Parameter(torch.linspace(-1.0, 1.0, HIDDEN)[torch.randperm(HIDDEN)])

    @property
    def slope(self) -> Tensor:
        """a, the part of the slope that no weight of g can take away."""
        return functional.softplus(self.raw_slope) + self.LEAST_SLOPE

    def forward(self, cosine: Tensor) -> Tensor:
        """f of cosines, any shape."""
        hidden = functional.linear(cosine[..., None], functional.softplus(self.raw_first), self.first_bias)
        hidden = functional.linear(_shaped(hidden), functional.softplus(self.raw_second), self.second_bias)
        curved = functional.linear(_shaped(hidden), functional.softplus(self.raw_third))
        return self.slope * cosine + curved.squeeze(-1)


def _shaped(hidden: Tensor) -> Tensor:
    """Convex, concave and bounded units, about a third each."""
    third = HIDDEN // 3
    convex, concave, bounded = torch.split(hidden, [third, third, HIDDEN - 2 * third], dim=-1)
    return torch.cat([functional.softplus(convex), -functional.softplus(-concave), torch.tanh(bounded)], dim=-1)


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))


class ProjectedScore(nn.Module):
    """System A's third score as published: 1-16-16-1 with ReLU6, ReLU6, ReLU and weights projected to >= 0.

    It does not decrease, but it has flat stretches where the gradient is exactly 0 and cosines tie. Negative weights
    are set to 0 by `project`, before each training step (the release does it after each, so only the first differs).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(1, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)
        for layer in (self.first, self.second, self.third):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, cosine: Tensor) -> Tensor:
        """f of cosines, any shape."""
        hidden = functional.relu6(_non_negative(self.first, cosine[..., None]))
        hidden = functional.relu6(_non_negative(self.second, hidden))
        return functional.relu(_non_negative(self.third, hidden)).squeeze(-1)

    @torch.no_grad()
    def project(self) -> None:
        """Set negative weights to 0."""
        for layer in (self.first, self.second, self.third):
            # Left alone where nothing is negative: a graph of an earlier pass may still need these very weights.
            if bool((layer.weight < 0.0).any()):
                layer.weight.clamp_(min=0.0)


def _non_negative(layer: nn.Linear, values: Tensor) -> Tensor:
    """``layer`` with its negative weights taken as 0, without moving them: an eval pass changes nothing."""
    still = layer.weight.detach()
    return functional.linear(values, layer.weight + (still.clamp(min=0.0) - still), layer.bias)


class PowerScore(nn.Module):
    """System A's first score: (c + 1)^P with one learned P, 1 at first, kept in [0.1, 10]; the norm is the scale."""

    LEAST, MOST = 0.1, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(1.0))

    def forward(self, cosine: Tensor) -> Tensor:
        """f of cosines, any shape."""
        base = cosine + 1.0
        positive = base.detach().clamp(min=torch.finfo(base.dtype).eps)
        # Off 0 in the gradient (infinite there for P < 1), exact in the value.
        safe = positive + (base - base.detach())
        value = safe ** self.power.clamp(self.LEAST, self.MOST)
        return torch.where(base > 0.0, value, value - value.detach())
