"""The emphasis dial h(t, theta, I): rewrite of the wrong-class logits.

An emphasis works on cosines, one element at a time, so that it can run on any tile of the classes; the
target column is put back after it, so it may rewrite that too. Masks carry no gradient.
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
    """Rewrites cosines of wrong classes given the margined target logit of each row."""

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        """Return the emphasized logits, in units of a cosine.

        Args:
            cosine: [N, C'] cosines of any subset of classes.
            target: [N, 1] target logits f(m, theta_y), in units of a cosine.
        """
        ...


@runtime_checkable
class Observer(Protocol):
    """An emphasis that learns from the batch before it is used, in training mode."""

    def observe(self, cosine: Tensor) -> None:
        """See the target cosines [N, 1] of a batch, before the margin."""
        ...


def _boosted(cosine: Tensor, target: Tensor, boost: float, variant: str) -> Tensor:
    """Where a wrong class beats the target, c + boost (c + 1) ("adaptive") or c + boost ("fixed")."""
    raised = (1.0 + boost) * cosine + boost if variant == "adaptive" else cosine + boost
    return torch.where(cosine > target, raised, cosine)


@dataclass(frozen=True)
class SupportVectors:
    """Wrong classes that beat the target, I_k = 1 iff f(m, theta_y) < c_k, count more (SV-Softmax).

    Wang et al. 2018 (arXiv 1812.11317), h = e^{s (t - 1)(c_k + 1) I_k}: c_k -> t c_k + t - 1. "fixed" is
    h = e^{s (t - 1) I_k}. Equality is no support vector; t = 1 changes nothing. ``t`` in [1, 10].
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
    """`SupportVectors` by the numbers of MV-Softmax (Wang et al. 2020), whose t is one less.

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
    """Wrong classes that beat the target, c_k > f(m, theta_y), become c_k (t + c_k) (CurricularFace).

    Huang et al. 2020. t is the running mean of the target cosines: t <- 0.01 mean(c_y) + 0.99 t, before use;
    it starts at 0, where hard wrong classes count less than easy ones, and emphasizes them once t > 1 - c_k.
    The mask is strict and compares with the target logit that the loss uses. The release compares with cos(theta + m)
    itself, which differs only beyond theta + m = pi, where it turns up again.

    Attributes:
        t: scalar buffer, moved in training mode only.
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
        # A copy: the buffer moves before the backward pass of an earlier batch may run.
        return torch.where(cosine > target, cosine * (self.t.clone() + cosine), cosine)


@dataclass(frozen=True)
class InterClassFilter:
    """Wrong classes closer than ``threshold`` (a cosine, [-1, 1]) are taken out: cosine 0 (InsightFace).

    For data with labels that are split or wrong: a very near wrong class may be the right one.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        in_range("threshold", self.threshold, -1.0, 1.0, "a cosine")

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        return torch.where(cosine > self.threshold, torch.zeros_like(cosine), cosine)


@dataclass(frozen=True)
class NarrowedAngles:
    """All wrong classes come nearer: cos(theta_k / margin) (SphereFace-R v2, Liu et al. 2021).

    ``margin`` is a factor in [1, 16]. The margin sits on the wrong classes; the target keeps its cosine. ``gradient``
    is that of `margins.apply`. A trainer's margin ramp does not reach it.
    """

    margin: float = 1.5
    gradient: Gradient = "exact"

    def __post_init__(self) -> None:
        in_range("margin", self.margin, 1.0, 16.0, "a factor on the angle")
        one_of("gradient", self.gradient, ("exact", "detached"))

    def logit(self, theta: Tensor) -> Tensor:
        """cos(theta / margin)."""
        return torch.cos(theta / self.margin)

    def derivative(self, theta: Tensor) -> Tensor:
        """Of `logit`."""
        return -torch.sin(theta / self.margin) / self.margin

    def __call__(self, cosine: Tensor, target: Tensor) -> Tensor:
        return margins.apply(self, cosine, gradient=self.gradient)
