"""Compute the N x C product as one matrix.

Weights are not normalized: the columns of the product are divided by |W_j| instead, which gives the same
values and gradients without a C x D copy of W.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_NORM = 1e-12
"""Vectors shorter than this have no direction: their unit vector is 0 and its gradient is bounded."""


def safe_norm(vectors: Tensor) -> Tensor:
    """Return the Euclidean norms [N, 1] of the rows of ``vectors`` [N, D], with 1 instead of (almost) 0.

    The gradient through the unit vector x / |x| of a zero row is then finite (that of x / 1).
    """
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(norms > SMALLEST_NORM, norms, torch.ones_like(norms))


def unit_rows(vectors: Tensor) -> Tensor:
    """Divide the rows of ``vectors`` [N, D] by their Euclidean norm; zero rows stay zero."""
    return vectors / safe_norm(vectors)


def cosines(embeddings: Tensor, weight: Tensor) -> Tensor:
    """Return cos(theta_ij) = <x_i, W_j> / (|x_i| |W_j|), [N, C], of embeddings [N, D] and weight [C, D]."""
    return functional.linear(unit_rows(embeddings), weight) / safe_norm(weight).T
