"""Chains of increasingly hard views, each an augmentation of the one before it (system A).

Formula of the chain, with g the first view and h the harder one: v_0 = g(x), v_k = h(v_(k-1)). The published h is
multiplicative noise, brightness and contrast, a loss of detail, sharpening and a rotation, each with probability 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from steradian.data.views import RandomView


@dataclass(frozen=True)
class HarderView:
    """One step of the chain; each operation is applied to each image with ``probability``.

    Attributes:
        noise: largest deviation from 1 of the factor on all samples of an image.
        brightness, contrast: largest shift, and largest deviation from 1 of the factor around the mean.
        detail: factor on the resolution, in (0, 1].
        sharpen: factor on the detail (image minus its blur) that is added.
        rotation: largest angle in degrees.
    """

    probability: float = 0.5
    noise: float = 0.2
    brightness: float = 0.025
    contrast: float = 0.025
    detail: float = 0.9
    sharpen: float = 0.5
    rotation: float = 25.0

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return a harder view of ``batch`` [N, channels, H, W]; samples stay in [0, 1]."""
        count = len(batch)

        def selected() -> Tensor:
            chosen = torch.rand(count, generator=generator) < self.probability
            return chosen.to(batch.device)[:, None, None, None]

        def uniform(limit: float) -> Tensor:
            values = limit * (2.0 * torch.rand(count, generator=generator) - 1.0)
            return values.to(batch.device)[:, None, None, None]

        batch = torch.where(selected(), batch * (1.0 + uniform(self.noise)), batch)
        mean = batch.mean(dim=(1, 2, 3), keepdim=True)
        shifted = mean + (batch - mean) * (1.0 + uniform(self.contrast)) + uniform(self.brightness)
        batch = torch.where(selected(), shifted, batch)
        sides = [int(batch.shape[2]), int(batch.shape[3])]
        small = [max(1, round(self.detail * side)) for side in sides]
        coarse = functional.interpolate(batch, size=small, mode="bilinear", antialias=True)
        batch = torch.where(selected(), functional.interpolate(coarse, size=sides, mode="bilinear"), batch)
        blurred = functional.avg_pool2d(functional.pad(batch, (1, 1, 1, 1), mode="replicate"), 3, 1)
        batch = torch.where(selected(), batch + self.sharpen * (batch - blurred), batch)
        rotate = RandomView(rotation=self.rotation, scale=0.0, shear=0.0, shift=0.0)
        return torch.where(selected(), rotate(batch, generator), batch).clamp(0.0, 1.0)


@dataclass(frozen=True)
class ProgressiveViews:
    """Make ``views`` views of each image: the first by ``first``, every other by ``harder`` from the one before."""

    first: RandomView
    harder: HarderView
    views: int

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Map ``batch`` [N, channels, H, W] to [V * N, channels, H, W]: all first views, then all second ones, ..."""
        chain = [self.first(batch, generator)]
        for _ in range(self.views - 1):
            chain.append(self.harder(chain[-1], generator))
        return torch.cat(chain)
