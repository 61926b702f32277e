"""Views of one image should be told alike: what is added to the loss when there are several (system A)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Consistency = Literal["kl", "js", "angle"]


def divergence(logits: Tensor, views: int) -> Tensor:
    """Mean over the later views of KL(p_0 || p_v), the first view being the teacher (no gradient through p_0).

    Args:
        logits: margin-free, [V * N, C], all first views first.
    """
    told = functional.log_softmax(logits.float(), dim=1).view(views, -1, logits.shape[1])
    teacher = told[0].detach()
    return (teacher.exp() * (teacher - told[1:])).sum(dim=2).mean()


def symmetric_divergence(logits: Tensor, views: int) -> Tensor:
    """Mean over the later views of the Jensen-Shannon divergence of p_0 and p_v, with gradients through both."""
    told = functional.log_softmax(logits.float(), dim=1).view(views, -1, logits.shape[1])
    first, later = told[:1].expand_as(told[1:]), told[1:]
    middle = torch.logaddexp(first, later) - torch.log(torch.tensor(2.0))
    halves = [(part.exp() * (part - middle)).sum(dim=2) for part in (first, later)]
    return 0.5 * (halves[0] + halves[1]).mean()


def angle(embeddings: Tensor, views: int) -> Tensor:
    """Mean over the later views of 1 - cos(x_0, x_v), no gradient through x_0; embeddings [V * N, D]."""
    told = embeddings.float().view(views, -1, embeddings.shape[1])
    return (1.0 - functional.cosine_similarity(told[:1].detach().expand_as(told[1:]), told[1:], dim=2)).mean()
