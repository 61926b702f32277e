"""The weighting dial g: per-sample losses and target probabilities -> one scalar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Weighting(Protocol):
    """(losses [N], probabilities [N]) -> scalar."""

    def __call__(self, losses: Tensor, probabilities: Tensor) -> Tensor:
        """Reduce a batch.

        Args:
            losses: [N] values of -log p_y.
            probabilities: [N] values of p_y, the softmax probability of the (margined) target.
        """
        ...


@dataclass(frozen=True)
class Mean:
    """The mean of the losses: every sample weighs the same."""

    def __call__(self, losses: Tensor, probabilities: Tensor) -> Tensor:
        return losses.mean()
