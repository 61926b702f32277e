"""Pool a feature map into a vector: by average, maximum, or a learned generalized mean (GeM)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from steradian.errors import InputError

PoolingName = Literal["average", "max", "gem"]
POWER = "gem_power"


class GeneralizedMean(nn.Module):
    """GeM (Radenović et al. 2018): (mean over positions of max(x, eps)^p)^(1/p), where p is learned and starts at 3.

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
    """Replace the final pooling of the timm model ``encoder``. Raises `InputError` if it pools no feature map."""
    if pooling == "average":
        return
    from timm.layers import SelectAdaptivePool2d

    pools = [module for module in encoder.modules() if isinstance(module, SelectAdaptivePool2d)]
    if len(pools) != 1 or not isinstance(pools[0].pool, nn.AdaptiveAvgPool2d):
        raise InputError(f"the encoder {name!r} does not average a feature map at its end. Use pooling: average.")
    pools[0].pool = nn.AdaptiveMaxPool2d(1) if pooling == "max" else GeneralizedMean()
