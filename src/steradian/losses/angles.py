"""From cosine to angle and back, with values that are exact and gradients that stay finite.

``acos`` has an infinite slope at cosine 1 and -1, where trained embeddings like to be. Everything
that the margins need of it is here: the clamped angle, and the cosine continued past pi.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def angle(cosine: Tensor) -> Tensor:
    """The angle in [0, pi] radians whose cosine is ``cosine``, which is clamped to [-1, 1] first."""
    return torch.acos(cosine.clamp(-1.0, 1.0))


def smallest_sine(dtype: torch.dtype) -> float:
    """The least sin(theta) that ``dtype`` can tell from zero through a cosine: sqrt(eps).

    cos(theta) = 1 - theta^2 / 2, so the first cosine below 1 is about sqrt(2 eps) radians away.
    """
    return math.sqrt(torch.finfo(dtype).eps)


def regular(theta: Tensor) -> Tensor:
    """``theta`` kept ``smallest_sine`` away from 0 and pi, where d/dcos = -1/sin(theta) * d/dtheta."""
    epsilon = smallest_sine(theta.dtype)
    return theta.clamp(epsilon, torch.pi - epsilon)


def extended_cosine(phi: Tensor) -> Tensor:
    """cos continued monotonically past pi: (-1)^k cos(phi) - 2k, with k = floor(phi / pi).

    It equals cos on [0, pi], is continuous, and never increases (SphereFace, Liu et al. 2017).

    Args:
        phi: target angles in radians, any shape; below 0, which elastic margins may reach, it goes on above 1.
    """
    k = torch.floor(phi / torch.pi)
    return torch.cos(phi - k * torch.pi) - 2.0 * k


def extended_sine(phi: Tensor) -> Tensor:
    """|sin(phi)|, the negated derivative of `extended_cosine`."""
    return torch.sin(phi).abs()


def continued_cosine(phi: Tensor, rule: str) -> Tensor:
    """cos(phi) within [0, pi], and outside of it what ``rule`` says.

    "extend": `extended_cosine`; "plain": cos(phi), which turns around; "clamp": phi kept in [0, pi].
    """
    if rule == "extend":
        return extended_cosine(phi)
    return torch.cos(phi if rule == "plain" else phi.clamp(0.0, torch.pi))


def continued_sine(phi: Tensor, rule: str) -> Tensor:
    """The negated derivative of `continued_cosine`."""
    if rule == "extend":
        return extended_sine(phi)
    sine = torch.sin(phi)
    return sine if rule == "plain" else torch.where((phi >= 0.0) & (phi <= torch.pi), sine, 0.0)
