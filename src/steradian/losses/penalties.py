"""Penalty terms added to a softmax loss, computed from embeddings and labels instead of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from steradian.losses.ranges import in_range


@runtime_checkable
class Penalty(Protocol):
    """(embeddings [N, D], labels [N]) -> scalar, added to the loss in training mode."""

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the term, differentiable with respect to the embeddings."""


@dataclass(frozen=True)
class NormReward:
    """lambda_g mean(g(a)), g(a) = a / u_a^2 + 1 / a, with the norm a clamped to [l_a, u_a] (MagFace, Meng et al. 2021).

    g decreases up to u_a, where its slope is 0: larger norms cost less; MagFace's margin counteracts for hard images.
    """

    l_a: float = 10.0
    u_a: float = 110.0
    lambda_g: float = 35.0

    def __post_init__(self) -> None:
        in_range("l_a", self.l_a, 1e-6, 1e6, "a norm")
        in_range("u_a", self.u_a, 1e-6, 1e6, "a norm")
        in_range("lambda_g", self.lambda_g, 0.0, 1e6, "a weight")

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(embeddings, dim=1).clamp(self.l_a, self.u_a)
        cost: Tensor = (norms / self.u_a**2 + 1.0 / norms).mean()
        return self.lambda_g * cost


class CenterPull(nn.Module):
    """center_weight / 2 mean |x - c_y|^2, the center loss with centers that follow the embeddings (Wen et al. 2016).

    After each batch, in training mode, c_j moves by -alpha sum_{y=j}(c_j - x) / (1 + n_j); the centers get no
    gradient. The term compares raw embeddings, not directions.

    Args:
        num_classes, embedding_size: C, D.
        center_weight: lambda, at least 0; the authors use 0.008 for faces and 0.01 for MNIST.
        alpha: update rate of the centers, [0, 1].

    Attributes:
        centers: [C, D] buffer, initially 0.
    """

    centers: Tensor

    def __init__(self, num_classes: int, embedding_size: int, center_weight: float = 0.008, alpha: float = 0.5) -> None:
        super().__init__()
        in_range("center_weight", center_weight, 0.0, 1e6, "a weight")
        in_range("alpha", alpha, 0.0, 1.0, "a rate")
        self.center_weight, self.alpha = center_weight, alpha
        self.register_buffer("centers", torch.zeros(num_classes, embedding_size))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        offsets = embeddings - self.centers[labels]
        if self.training:
            self._update_centers(offsets.detach(), labels)
        distance: Tensor = offsets.square().sum(dim=1).mean()
        return 0.5 * self.center_weight * distance

    @torch.no_grad()
    def _update_centers(self, offsets: Tensor, labels: Tensor) -> None:
        counts = torch.bincount(labels, minlength=len(self.centers)).to(offsets.dtype)
        moves = torch.zeros_like(self.centers).index_add_(0, labels, offsets)
        # Not in place: a compiled backward pass would compute the offsets again, with the centers of the next step.
        self.centers = self.centers + self.alpha * moves / (1.0 + counts)[:, None]

    def extra_repr(self) -> str:
        return f"center_weight={self.center_weight}, alpha={self.alpha}"
