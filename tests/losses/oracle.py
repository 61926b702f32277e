"""Float64 references written from the formulas alone, with plain loops and autograd through acos."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def psi(phi: Tensor) -> Tensor:
    """(-1)^k cos(phi) - 2k, piece by piece."""
    value = torch.cos(phi)
    for k in range(1, 20):
        value = torch.where(phi >= k * math.pi, (-1) ** k * torch.cos(phi) - 2 * k, value)
    return value


def margin_softmax(
    embeddings: Tensor, weight: Tensor, labels: Tensor, target: Callable[[Tensor], Tensor], scale: float | None
) -> Tensor:
    """-log softmax, row by row; ``scale`` None means the norm of the embedding."""
    losses = []
    for x, y in zip(embeddings, labels, strict=True):
        s = x.norm() if scale is None else torch.tensor(scale, dtype=x.dtype)
        logits = []
        for j, w in enumerate(weight):
            cosine = (x @ w) / (x.norm() * w.norm())
            logits.append(s * (target(torch.acos(cosine)) if j == y else cosine))
        row = torch.stack(logits)
        losses.append(torch.logsumexp(row, 0) - row[y])
    return torch.stack(losses).mean()


TARGETS: dict[str, tuple[dict[str, float], Callable[[Tensor], Tensor], float | None]] = {
    "normface": ({}, torch.cos, 30.0),
    "cosface": ({"margin": 0.35}, lambda t: torch.cos(t) - 0.35, 64.0),
    "arcface": ({"margin": 0.5}, lambda t: psi(t + 0.5), 64.0),
    "sphereface": (
        {"margin": 4.0},
        # One step of the published annealing: lambda = 1000 / 1.12, kept above 5.
        lambda t: (1000 / 1.12 * torch.cos(t) + psi(4.0 * t)) / (1 + 1000 / 1.12),
        None,
    ),
    "sphere-arc": ({"m_s": 2.0, "m_a": 0.4}, lambda t: psi(t + torch.clamp(t, max=0.4)), 64.0),
}
"""Preset -> (options, target logit, scale) at its published defaults."""
