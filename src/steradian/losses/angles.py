"""Elementary functions with exact values and finite gradients: angles from cosines and back, and softplus.

``acos`` has an infinite slope at cosine 1 and -1, which trained embeddings come close to. This module
provides what the margins need: the clamped angle, and the cosine continued past pi.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def angle(cosine: Tensor) -> Tensor:
    """Return the angle in [0, pi] radians whose cosine is ``cosine``, clamped to [-1, 1] first."""
    return torch.acos(cosine.clamp(-1.0, 1.0))


def smallest_sine(dtype: torch.dtype) -> float:
    """Return sqrt(eps), the least sin(theta) that a cosine in ``dtype`` can distinguish from zero.

    cos(theta) = 1 - theta^2 / 2, so the first cosine below 1 is about sqrt(2 eps) radians away.
    """
    return math.sqrt(torch.finfo(dtype).eps)


def regular(theta: Tensor) -> Tensor:
    """Clamp ``theta`` to stay ``smallest_sine`` away from 0 and pi, because d/dcos = -1/sin(theta) * d/dtheta."""
    epsilon = smallest_sine(theta.dtype)
    return theta.clamp(epsilon, torch.pi - epsilon)


def extended_cosine(phi: Tensor) -> Tensor:
    """Continue cos monotonically past pi: (-1)^k cos(phi) - 2k, with k = floor(phi / pi).

    It equals cos on [0, pi], is continuous, and never increases (SphereFace, Liu et al. 2017).

    Args:
        phi: target angles in radians, any shape. Below 0, which elastic margins may reach, the result exceeds 1.
    """
    k = torch.floor(phi / torch.pi)
    return torch.cos(phi - k * torch.pi) - 2.0 * k


def extended_sine(phi: Tensor) -> Tensor:
    """Return |sin(phi)|, the negated derivative of `extended_cosine`."""
    return torch.sin(phi).abs()


def continued_cosine(phi: Tensor, rule: str) -> Tensor:
    """Return cos(phi) within [0, pi], continued outside by ``rule``.

    "extend": `extended_cosine`; "plain": cos(phi), which is not monotone; "clamp": cos of phi clamped to [0, pi].
    """
    if rule == "extend":
        return extended_cosine(phi)
    return torch.cos(phi if rule == "plain" else phi.clamp(0.0, torch.pi))


def continued_sine(phi: Tensor, rule: str) -> Tensor:
    """Return the negated derivative of `continued_cosine`."""
    if rule == "extend":
        return extended_sine(phi)
    sine = torch.sin(phi)
    return sine if rule == "plain" else torch.where((phi >= 0.0) & (phi <= torch.pi), sine, 0.0)


def softplus(z: Tensor) -> Tensor:
    """Return ln(1 + e^z). PyTorch returns z above 20 by default, an error of 2e-9; above 50 it is exact in float64."""
    return functional.softplus(z, threshold=50.0)
