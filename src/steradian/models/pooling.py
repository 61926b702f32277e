"""How a map of features becomes a vector: average, maximum, or a mean between the two that is learned."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from steradian.errors import InputError

PoolingName = Literal["average", "max", "gem"]
POWER = "gem_power"


class GeneralizedMean(nn.Module):
    """(mean over places of max(x, eps)^p)^(1/p), p learned, from 3 on: GeM (Radenović et al. 2018).

    p = 1 is the average, and p -> infinity the maximum. Input float [N, F, h, w]; output [N, F, 1, 1].
    """

    EPS = 1e-6

    def __init__(self) -> None:
        super().__init__()
        self.gem_power = nn.Parameter(torch.tensor(3.0))

    def forward(self, features: Tensor) -> Tensor:
        raised = features.clamp_min(self.EPS).pow(self.gem_power)
        return raised.mean(dim=(2, 3), keepdim=True).pow(1.0 / self.gem_power)


def set_pooling(encoder: nn.Module, name: str, pooling: PoolingName) -> None:
    """Let the timm model ``encoder`` end with ``pooling``.

    Raises:
        InputError: one that has no map of features to pool, such as a transformer.
    """
    from timm.layers import SelectAdaptivePool2d

    if pooling == "average":
        return
    found = [module for module in encoder.modules() if isinstance(module, SelectAdaptivePool2d)]
    if len(found) != 1 or not isinstance(found[0].pool, nn.AdaptiveAvgPool2d):
        raise InputError(f"the encoder {name!r} ends with no average over a map of features. Use pooling: average.")
    found[0].pool = nn.AdaptiveMaxPool2d(1) if pooling == "max" else GeneralizedMean()
