"""The weighting dial g: per-sample losses and target probabilities -> one scalar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from steradian.losses.ranges import in_range


@runtime_checkable
class Weighting(Protocol):
    """(losses [N], probabilities [N]) -> scalar."""

    def __call__(self, losses: Tensor, probabilities: Tensor) -> Tensor:
        """Reduce a batch.

        Args:
            losses: [N] values of -log p_y (with label smoothing: the smoothed cross-entropy).
            probabilities: [N] values of p_y, the softmax probability of the (margined) target.
        """


@dataclass(frozen=True)
class Mean:
    """The mean of the losses: every sample has the same weight."""

    def __call__(self, losses: Tensor, probabilities: Tensor) -> Tensor:
        return losses.mean()


@dataclass(frozen=True)
class Focal:
    """mean((1 - p)^gamma loss) (Lin et al. 2017, without its alpha). Divides by N; differentiates p too.

    ``gamma`` in [0, 20]; 0 is the mean.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        in_range("gamma", self.gamma, 0.0, 20.0, "an exponent")

    def __call__(self, losses: Tensor, probabilities: Tensor) -> Tensor:
        if self.gamma == 0.0:
            return losses.mean()
        # Stay above 0, where a power below 1 has infinite slope; the loss itself is about 0 there.
        doubt = (1.0 - probabilities).clamp(min=torch.finfo(losses.dtype).eps)
        return (doubt**self.gamma * losses).mean()


@dataclass(frozen=True)
class HardMining:
    """The mean of the max(1, int(keep N)) highest losses (HM-Softmax; OHEM, Shrivastava et al. 2016).

    ``keep`` in (0, 1]; 1 is the mean.
    """

    keep: float = 0.9

    def __post_init__(self) -> None:
        in_range("keep", self.keep, 1e-9, 1.0, "a fraction of the batch")

    def __call__(self, losses: Tensor, probabilities: Tensor) -> Tensor:
        return losses.topk(max(1, int(self.keep * len(losses)))).values.mean()
