"""The emphasis dial h(t, theta, I): changes the wrong-class logits.

An emphasis works elementwise on cosines, so that it can run on any tile of the classes. The target column
is restored afterwards, so an emphasis may change it too. Masks carry no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from steradian.losses import margins
from steradian.losses.margins import Gradient
from steradian.losses.ranges import in_range, one_of

EmphasisVariant = Literal["adaptive", "fixed"]


@runtime_checkable
class Emphasis(Protocol):
    """Change the cosines of wrong classes, given the margined target logit of each row."""

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        """Return the emphasized logits, in cosine units.

        Args:
            cosine: [N, C'] cosines of any subset of classes.
            target: [N, 1] target logits f(m, theta_y), in cosine units.
        """


@runtime_checkable
class Observer(Protocol):
    """An emphasis that updates its state from each batch before it is applied, in training mode."""

    def observe(self, cosine: Tensor) -> None:
        """Update the state from the target cosines [N, 1] of a batch, without margin."""


def _boosted(cosine: Tensor, target: Tensor, boost: float, variant: str) -> Tensor:
    """Return c + boost (c + 1) ("adaptive") or c + boost ("fixed") where a wrong class beats the target, else c."""
    raised = (1.0 + boost) * cosine + boost if variant == "adaptive" else cosine + boost
    return torch.where(cosine > target, raised, cosine)


@dataclass(frozen=True)
class SupportVectors:
    """Give more weight to wrong classes that beat the target, I_k = 1 iff f(m, theta_y) < c_k (SV-Softmax).

    Wang et al. 2018 (arXiv 1812.11317), h = e^{s (t - 1)(c_k + 1) I_k}: c_k -> t c_k + t - 1. "fixed" is
    h = e^{s (t - 1) I_k}. Equality does not count as a support vector; t = 1 changes nothing. ``t`` in [1, 10].
    """

    t: float = 1.2
    variant: EmphasisVariant = "adaptive"

    def __post_init__(self) -> None:
        in_range("t", self.t, 1.0, 10.0, "1 changes nothing")
        one_of("variant", self.variant, ("adaptive", "fixed"))

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        return _boosted(cosine, target, self.t - 1.0, self.variant)


@dataclass(frozen=True)
class MisclassifiedVectors:
    """`SupportVectors` in the parametrization of MV-Softmax (Wang et al. 2020), whose t is smaller by 1.

    "adaptive": c_k -> (t + 1) c_k + t; "fixed": c_k -> c_k + t. t = 0 changes nothing. ``t`` in [0, 9].
    """

    t: float = 0.2
    variant: EmphasisVariant = "adaptive"

    def __post_init__(self) -> None:
        in_range("t", self.t, 0.0, 9.0, "0 changes nothing")
        one_of("variant", self.variant, ("adaptive", "fixed"))

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        return _boosted(cosine, target, self.t, self.variant)


class Curriculum(nn.Module):
    """Change the cosines of wrong classes that beat the target, c_k > f(m, theta_y), to c_k (t + c_k) (CurricularFace).

    Huang et al. 2020. t is the running mean of the target cosines, updated before use: t <- 0.01 mean(c_y) + 0.99 t.
    It starts at 0, which gives hard wrong classes less weight than easy ones; they are emphasized once t > 1 - c_k.
    The mask is strict and compares with the target logit that the loss uses. The authors' code compares with
    cos(theta + m), which differs only beyond theta + m = pi, where it increases again.

    Attributes:
        t: scalar buffer, updated in training mode only.
    """

    MOMENTUM = 0.01
    t: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(0.0))

    @torch.no_grad()
    def observe(self, cosine: Tensor) -> None:
        if self.training:
            self.t.lerp_(cosine.mean().to(self.t.dtype), self.MOMENTUM)

    def forward(self, cosine: Tensor, target: Tensor) -> Tensor:
        # A copy, because the buffer may change before the backward pass of an earlier batch runs.
        return torch.where(cosine > target, cosine * (self.t.clone() + cosine), cosine)


@dataclass(frozen=True)
class InterClassFilter:
    """Set the cosine of wrong classes above ``threshold`` (a cosine, [-1, 1]) to 0 (InsightFace).

    Use it for data with split classes or wrong labels, where a very near wrong class may be the correct one.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        in_range("threshold", self.threshold, -1.0, 1.0, "a cosine")

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        return torch.where(cosine > self.threshold, torch.zeros_like(cosine), cosine)


@dataclass(frozen=True)
class NarrowedAngles:
    """Reduce the angle of all wrong classes: cos(theta_k / margin) (SphereFace-R v2, Liu et al. 2021).

    ``margin`` is a factor in [1, 16]. It applies to the wrong classes; the target keeps its cosine. ``gradient`` is
    as in `margins.apply`. A trainer's margin ramp does not affect it.
    """

    margin: float = 1.5
    gradient: Gradient = "exact"

    def __post_init__(self) -> None:
        in_range("margin", self.margin, 1.0, 16.0, "a factor on the angle")
        one_of("gradient", self.gradient, ("exact", "detached"))

    def logit(self, theta: Tensor) -> Tensor:
        """Return cos(theta / margin)."""
        return torch.cos(theta / self.margin)

    def derivative(self, theta: Tensor) -> Tensor:
        """Return the derivative of `logit`."""
        return -torch.sin(theta / self.margin) / self.margin

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        return margins.apply(self, cosine, gradient=self.gradient)
