"""The margin dial f(m, theta): target angle -> target logit (as a cosine, before the scale).

A margin is a function of the angle together with its derivative. Both are pure; `apply` connects them to
autograd. Angular margins differ only in the target angle phi(theta). ``past_pi`` selects how the cosine
continues where phi leaves [0, pi]: with "extend" (the default) the logit decreases for all theta in [0, pi].

A margin value may also be a tensor [N, 1], one margin per row, as the `adaptive` margins use it.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steradian.losses.angles import angle, continued_cosine, continued_sine, regular
from steradian.losses.ranges import flag, in_range, one_of

Gradient = Literal["exact", "detached"]
PastPi = Literal["extend", "plain", "clamp"]
PastPiAdditive = Literal["extend", "linear", "base", "plain", "clamp"]
PAST_PI = ("extend", "plain", "clamp")
PAST_PI_ADDITIVE = ("extend", "linear", "base", "plain", "clamp")


@runtime_checkable
class Margin(Protocol):
    """f(m, theta) and df/dtheta. Angles in radians in [0, pi], any shape; results have that shape."""

    def logit(self, theta: Tensor) -> Tensor:
        """Return the target logit f(m, theta), in cosine units."""

    def derivative(self, theta: Tensor) -> Tensor:
        """Return df/dtheta, at most 0 for a monotone margin."""


class _Angular(abc.ABC):
    """f = cos(phi(theta)) for a non-decreasing target angle phi, continued outside [0, pi]."""

    past_pi: str

    @abc.abstractmethod
    def phi(self, theta: Tensor) -> Tensor:
        """Return the target angle."""

    @abc.abstractmethod
    def phi_slope(self, theta: Tensor) -> Tensor:
        """Return dphi/dtheta, at least 0."""

    def logit(self, theta: Tensor) -> Tensor:
        return continued_cosine(self.phi(theta), self.past_pi)

    def derivative(self, theta: Tensor) -> Tensor:
        return -continued_sine(self.phi(theta), self.past_pi) * self.phi_slope(theta)


def _check_margin(margin: float | Tensor, high: float, unit: str) -> None:
    if not isinstance(margin, Tensor):
        in_range("margin", margin, 0.0, high, unit)


@dataclass(frozen=True, eq=False)
class AdditiveAngle(_Angular):
    """phi = theta + margin (ArcFace, Deng et al. 2019).

    Args:
        margin: radians, [0, pi]; or a tensor [N, 1].
        past_pi: beyond theta + margin = pi, "extend": the monotone continuation; "linear":
            cos(theta) - margin sin(margin), which also decreases but jumps down (the authors' ArcFace code);
            "base": cos(theta), which jumps up; "plain": cos(theta + margin), which increases again;
            "clamp": -1.
        easy_margin: apply the margin only where cos(theta) > 0, else use cos(theta); jumps up at 90 degrees.
    """

    margin: float | Tensor = 0.5
    past_pi: PastPiAdditive = "extend"
    easy_margin: bool = False

    def __post_init__(self) -> None:
        _check_margin(self.margin, math.pi, "radians")
        one_of("past_pi", self.past_pi, PAST_PI_ADDITIVE)
        flag("easy_margin", self.easy_margin)

    def phi(self, theta: Tensor) -> Tensor:
        return theta + self.margin

    def phi_slope(self, theta: Tensor) -> Tensor:
        return torch.ones_like(theta)

    def logit(self, theta: Tensor) -> Tensor:
        inside = super().logit(theta)
        if self.past_pi in ("linear", "base"):
            drop = self.margin * _sine(self.margin) if self.past_pi == "linear" else 0.0
            inside = torch.where(theta + self.margin > torch.pi, torch.cos(theta) - drop, inside)
        return torch.where(theta < torch.pi / 2, inside, torch.cos(theta)) if self.easy_margin else inside

    def derivative(self, theta: Tensor) -> Tensor:
        inside = super().derivative(theta)
        if self.past_pi in ("linear", "base"):
            inside = torch.where(theta + self.margin > torch.pi, -torch.sin(theta), inside)
        return torch.where(theta < torch.pi / 2, inside, -torch.sin(theta)) if self.easy_margin else inside


def _sine(margin: float | Tensor) -> float | Tensor:
    return torch.sin(margin) if isinstance(margin, Tensor) else math.sin(margin)


@dataclass(frozen=True)
class Multiplicative(_Angular):
    """phi = margin * theta (A-Softmax / SphereFace, Liu et al. 2017). ``margin`` is a factor in [1, 16].

    With "extend" this is psi(theta) = (-1)^k cos(margin theta) - 2k for any real margin; "clamp" is
    SphereFace-R v1, cos(min(margin theta, pi)); "plain" increases again beyond theta = pi / margin.
    """

    margin: float = 4.0
    past_pi: PastPi = "extend"

    def __post_init__(self) -> None:
        in_range("margin", self.margin, 1.0, 16.0, "a factor on the angle")
        one_of("past_pi", self.past_pi, PAST_PI)

    def phi(self, theta: Tensor) -> Tensor:
        return self.margin * theta

    def phi_slope(self, theta: Tensor) -> Tensor:
        return torch.full_like(theta, self.margin)


@dataclass(frozen=True)
class SphereThenArc(_Angular):
    """phi = theta + min((m_s - 1) theta, m_a): multiplicative near the center, additive far from it.

    After an idea in system B: slope m_s up to theta* = m_a / (m_s - 1), slope 1 beyond it. It becomes
    ArcFace(m_a) as m_s -> inf, SphereFace(m_s) as m_a -> inf, and softmax at m_s = 1 or m_a = 0.

    ``m_s`` is a factor in [1, inf), ``m_a`` an angle in radians, [0, inf).
    """

    m_s: float = 2.0
    m_a: float = 0.4
    past_pi: PastPi = "extend"

    def __post_init__(self) -> None:
        in_range("m_s", self.m_s, 1.0, 1e6, "a factor on the angle")
        in_range("m_a", self.m_a, 0.0, 1e6, "radians")
        one_of("past_pi", self.past_pi, PAST_PI)

    def phi(self, theta: Tensor) -> Tensor:
        return theta + ((self.m_s - 1.0) * theta).clamp(max=self.m_a)

    def phi_slope(self, theta: Tensor) -> Tensor:
        near = (self.m_s - 1.0) * theta < self.m_a
        return torch.where(near, torch.full_like(theta, self.m_s), torch.ones_like(theta))


@dataclass(frozen=True)
class Combined(_Angular):
    """f = cos(m1 theta + m2) - m3 (the combined margin of ArcFace, Deng et al. 2019).

    ``m1`` is a factor in [0.1, 16], ``m2`` an angle in radians, [0, pi], ``m3`` a cosine offset, [0, 2].
    """

    m1: float = 1.0
    m2: float = 0.3
    m3: float = 0.2
    past_pi: PastPi = "extend"

    def __post_init__(self) -> None:
        in_range("m1", self.m1, 0.1, 16.0, "a factor on the angle")
        in_range("m2", self.m2, 0.0, math.pi, "radians")
        in_range("m3", self.m3, 0.0, 2.0, "cosine units")
        one_of("past_pi", self.past_pi, PAST_PI)

    def phi(self, theta: Tensor) -> Tensor:
        return self.m1 * theta + self.m2

    def phi_slope(self, theta: Tensor) -> Tensor:
        return torch.full_like(theta, self.m1)

    def logit(self, theta: Tensor) -> Tensor:
        return super().logit(theta) - self.m3


@dataclass(frozen=True, eq=False)
class AdditiveCosine:
    """f = cos(theta) - margin (AM-Softmax, Wang et al. 2018; CosFace, Wang et al. 2018).

    Args:
        margin: in cosine units, [0, 2]; or a tensor [N, 1].
        easy_margin: apply the margin only where cos(theta) > 0, else use cos(theta); jumps up at 90 degrees.
    """

    margin: float | Tensor = 0.35
    easy_margin: bool = False

    def __post_init__(self) -> None:
        _check_margin(self.margin, 2.0, "cosine units")
        flag("easy_margin", self.easy_margin)

    def logit(self, theta: Tensor) -> Tensor:
        cosine = torch.cos(theta)
        return torch.where(cosine > 0.0, cosine - self.margin, cosine) if self.easy_margin else cosine - self.margin

    def derivative(self, theta: Tensor) -> Tensor:
        return -torch.sin(theta)


class _MarginFunction(torch.autograd.Function):
    """f(cosine) with df/dcos = -f'(theta) / sin(theta), and its finite limit at |cosine| = 1."""

    @staticmethod
    def forward(cosine: Tensor, margin: Margin) -> Tensor:
        return margin.logit(angle(cosine))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Margin], output: Tensor) -> None:
        cosine, ctx.margin = inputs
        ctx.save_for_backward(cosine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (cosine,) = ctx.saved_tensors
        inside = regular(angle(cosine))
        return grad_outputs[0] * (-ctx.margin.derivative(inside) / torch.sin(inside)), None


def apply(
    margin: Margin,
    cosine: Tensor,
    *,
    gradient: Gradient = "exact",
    strength: float | Tensor = 1.0,
    learned: bool = False,
) -> Tensor:
    """Return the target logit of ``cosine`` under ``margin``, differentiable.

    Args:
        cosine: target cosines, any shape, float32 or float64.
        gradient: "exact" differentiates the margined logit; "detached" passes the gradient of the plain
            cosine through (a straight-through estimate that several code bases use; OpenSphere calls it
            characteristic gradient detachment).
        strength: r in [0, 1] blends cos + r (f - cos). It ramps up any margin. A-Softmax's annealing
            (lambda cos + f) / (1 + lambda) is r = 1 / (1 + lambda).
        learned: the margin values need a gradient too (MagFace's depend on the norm), for either ``gradient``.

    Only first-order gradients are supported: PyTorch refuses a second derivative through "exact".
    """
    if gradient == "detached":
        with torch.no_grad():
            shift = margin.logit(angle(cosine)) - cosine
        target = cosine + shift
    else:
        target = _MarginFunction.apply(cosine, margin)
    if learned:
        # Add df/dm at a fixed angle, which both branches above leave out.
        at_fixed_angle = margin.logit(angle(cosine.detach()))
        target = target + (at_fixed_angle - at_fixed_angle.detach())
    if isinstance(strength, float) and strength == 1.0:
        return target
    return cosine + strength * (target - cosine)
