"""Consistency losses: several views of one image should get the same prediction (system A)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Consistency = Literal["kl", "js", "angle"]


def divergence(logits: Tensor, views: int) -> Tensor:
    """Mean over the later views of KL(p_0 || p_v), the first view being the teacher (no gradient through p_0).

    Args:
        logits: margin-free, [V * N, C]; the first views of all images come first.
    """
    log_probs = functional.log_softmax(logits.float(), dim=1).view(views, -1, logits.shape[1])
    teacher = log_probs[0].detach()
    return (teacher.exp() * (teacher - log_probs[1:])).sum(dim=2).mean()


def symmetric_divergence(logits: Tensor, views: int) -> Tensor:
    """Mean over the later views of the Jensen-Shannon divergence of p_0 and p_v, with gradients through both."""
    log_probs = functional.log_softmax(logits.float(), dim=1).view(views, -1, logits.shape[1])
    first, later = log_probs[:1].expand_as(log_probs[1:]), log_probs[1:]
    middle = torch.logaddexp(first, later) - torch.log(torch.tensor(2.0))
    halves = [(part.exp() * (part - middle)).sum(dim=2) for part in (first, later)]
    return 0.5 * (halves[0] + halves[1]).mean()


def angle(embeddings: Tensor, views: int) -> Tensor:
    """Mean over the later views of 1 - cos(x_0, x_v), no gradient through x_0; embeddings [V * N, D]."""
    by_view = embeddings.float().view(views, -1, embeddings.shape[1])
    return (1.0 - functional.cosine_similarity(by_view[:1].detach().expand_as(by_view[1:]), by_view[1:], dim=2)).mean()
