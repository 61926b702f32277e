"""The margin dial f(m, theta): target angle -> target logit (as a cosine, before the scale).

A margin is one function of the angle with its derivative. Both are pure; `apply` joins them to
autograd. Angular margins differ only in the target angle phi(theta); `extended_cosine` makes each
of them non-increasing on all of [0, pi].
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steradian.errors import InputError
from steradian.losses.angles import angle, extended_cosine, extended_sine, regular

Gradient = Literal["exact", "detached"]


@runtime_checkable
class Margin(Protocol):
    """f(m, theta) and df/dtheta. Angles in radians in [0, pi], any shape; results have that shape."""

    def logit(self, theta: Tensor) -> Tensor:
        """The target logit f(m, theta), in units of a cosine."""
        ...

    def derivative(self, theta: Tensor) -> Tensor:
        """df/dtheta, at most 0 for a margin that is monotone."""
        ...


class _Angular(abc.ABC):
    """f = extended_cosine(phi(theta)) for a target angle phi that does not decrease."""

    @abc.abstractmethod
    def phi(self, theta: Tensor) -> Tensor:
        """The target angle."""

    @abc.abstractmethod
    def phi_slope(self, theta: Tensor) -> Tensor:
        """dphi/dtheta, at least 0."""

    def logit(self, theta: Tensor) -> Tensor:
        return extended_cosine(self.phi(theta))

    def derivative(self, theta: Tensor) -> Tensor:
        return -extended_sine(self.phi(theta)) * self.phi_slope(theta)


def _in_range(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
        raise InputError(f"{name} must lie in [{low:g}, {high:g}] ({unit}), but is {value!r}.")


@dataclass(frozen=True)
class AdditiveAngle(_Angular):
    """phi = theta + margin (ArcFace, Deng et al. 2019). ``margin`` in radians, [0, pi]."""

    margin: float = 0.5

    def __post_init__(self) -> None:
        _in_range("margin", self.margin, 0.0, math.pi, "radians")

    def phi(self, theta: Tensor) -> Tensor:
        return theta + self.margin

    def phi_slope(self, theta: Tensor) -> Tensor:
        return torch.ones_like(theta)


@dataclass(frozen=True)
class Multiplicative(_Angular):
    """phi = margin * theta (A-Softmax / SphereFace, Liu et al. 2017). ``margin`` is a factor in [1, 16]."""

    margin: float = 4.0

    def __post_init__(self) -> None:
        _in_range("margin", self.margin, 1.0, 16.0, "a factor on the angle")

    def phi(self, theta: Tensor) -> Tensor:
        return self.margin * theta

    def phi_slope(self, theta: Tensor) -> Tensor:
        return torch.full_like(theta, self.margin)


@dataclass(frozen=True)
class SphereThenArc(_Angular):
    """phi = theta + min((m_s - 1) theta, m_a): multiplicative near the center, additive far from it.

    System B's idea, written down: slope m_s up to theta* = m_a / (m_s - 1), slope 1 after it. It is
    ArcFace(m_a) as m_s -> inf, SphereFace(m_s) as m_a -> inf, and softmax at m_s = 1 or m_a = 0.

    ``m_s`` is a factor in [1, inf), ``m_a`` an angle in radians, [0, inf).
    """

    m_s: float = 2.0
    m_a: float = 0.4

    def __post_init__(self) -> None:
        _in_range("m_s", self.m_s, 1.0, 1e6, "a factor on the angle")
        _in_range("m_a", self.m_a, 0.0, 1e6, "radians")

    def phi(self, theta: Tensor) -> Tensor:
        return theta + ((self.m_s - 1.0) * theta).clamp(max=self.m_a)

    def phi_slope(self, theta: Tensor) -> Tensor:
        near = (self.m_s - 1.0) * theta < self.m_a
        return torch.where(near, torch.full_like(theta, self.m_s), torch.ones_like(theta))


@dataclass(frozen=True)
class AdditiveCosine:
    """f = cos(theta) - margin (AM-Softmax, Wang et al. 2018; CosFace, Wang et al. 2018). [0, 2]."""

    margin: float = 0.35

    def __post_init__(self) -> None:
        _in_range("margin", self.margin, 0.0, 2.0, "of a cosine")

    def logit(self, theta: Tensor) -> Tensor:
        return torch.cos(theta) - self.margin

    def derivative(self, theta: Tensor) -> Tensor:
        return -torch.sin(theta)


class _MarginFunction(torch.autograd.Function):
    """f(cosine) with df/dcos = -f'(theta) / sin(theta), its limit at |cosine| = 1 instead of inf."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor, margin: Margin) -> Tensor:
        theta = angle(cosine)
        inside = regular(theta)
        ctx.save_for_backward(-margin.derivative(inside) / torch.sin(inside))
        return margin.logit(theta)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad_outputs[0] * slope, None


def apply(margin: Margin, cosine: Tensor, *, gradient: Gradient = "exact", strength: float = 1.0) -> Tensor:
    """The target logit of ``cosine`` under ``margin``, differentiable.

    Args:
        cosine: target cosines, any shape, float32 or float64.
        gradient: "exact" differentiates what is computed; "detached" passes the gradient of the plain
            cosine through (the straight-through estimate that several code bases use, in OpenSphere
            called characteristic gradient detachment).
        strength: r in [0, 1] blends cos + r (f - cos). It ramps any margin in, and it is A-Softmax's
            annealing (lambda cos + f) / (1 + lambda) with r = 1 / (1 + lambda).
    """
    if gradient == "detached":
        with torch.no_grad():
            shift = strength * (margin.logit(angle(cosine)) - cosine)
        return cosine + shift
    target: Tensor = _MarginFunction.apply(cosine, margin)
    return target if strength == 1.0 else cosine + strength * (target - cosine)
