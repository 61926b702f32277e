"""Make random views of a batch: each image gets its own parameters, all drawn from one generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from steradian.data.operations import color_jitter, rand_augment, random_erasing

KNOTS = 4
"""Grid points per side at which elastic bends are drawn."""


@dataclass(frozen=True)
class RandomView:
    """Apply a random affine map and flip to each image; each parameter is uniform within +- its limit.

    Attributes:
        rotation: largest angle in degrees.
        scale: largest relative change of size.
        shear: largest tangent of the shear angle.
        shift: largest shift, as a share of the image's side.
        flip: probability of a left-right flip, in [0, 1].
        elastic: standard deviation of bends on an interpolated 4 x 4 grid, as a share of the side.
        thicker: probability that dark strokes become one pixel thicker on each side, in [0, 1].
        operations, magnitude: number and strength of RandAugment operations, see `operations.rand_augment`.
        erasing: probability that a rectangle is replaced by noise, see `operations.random_erasing`.
        color: largest relative change of brightness, contrast and saturation, see `operations.color_jitter`.
    """

    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.15
    shift: float = 0.07
    flip: float = 0.0
    elastic: float = 0.0
    thicker: float = 0.0
    operations: int = 0
    magnitude: int = 9
    erasing: float = 0.0
    color: float = 0.0

    @property
    def _only_flips(self) -> bool:
        return not (self.rotation or self.scale or self.shear or self.shift or self.elastic)

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return views of ``batch``, float [N, channels, H, W]; edge pixels repeat beyond the border."""
        count = len(batch)

        def uniform(limit: float) -> Tensor:
            return limit * (2.0 * torch.rand(count, generator=generator) - 1.0)

        turn = uniform(math.radians(self.rotation))
        size = 1.0 + uniform(self.scale)
        shear = uniform(self.shear)
        mirror = torch.where(torch.rand(count, generator=generator) < self.flip, -1.0, 1.0)
        shift = 2.0 * torch.stack([uniform(self.shift), uniform(self.shift)], dim=1)
        cosine, sine = turn.cos() / size, turn.sin() / size
        rows = [
            torch.stack([mirror * cosine, mirror * (shear * cosine - sine), shift[:, 0]], dim=1),
            torch.stack([sine, shear * sine + cosine, shift[:, 1]], dim=1),
        ]
        maps = torch.stack(rows, dim=1).to(batch.device, batch.dtype)
        if not self._only_flips:
            grid = functional.affine_grid(maps, list(batch.shape), align_corners=False)
        if self.elastic > 0.0:
            knots = 2.0 * self.elastic * torch.randn(count, 2, KNOTS, KNOTS, generator=generator)
            sides = list(batch.shape[-2:])
            bends = functional.interpolate(knots.to(grid), size=sides, mode="bicubic", align_corners=True)
            grid = grid + bends.permute(0, 2, 3, 1)
        if self.thicker > 0.0:
            selected = (torch.rand(count, generator=generator) < self.thicker).to(batch.device)
            batch = torch.where(selected[:, None, None, None], -functional.max_pool2d(-batch, 3, 1, 1), batch)
        if self._only_flips:
            result = torch.where((mirror < 0.0).to(batch.device)[:, None, None, None], batch.flip(3), batch)
        else:
            result = functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
        if self.color > 0.0:
            result = color_jitter(result, self.color, generator)
        if self.operations > 0:
            result = rand_augment(result, self.operations, self.magnitude, generator)
        return random_erasing(result, self.erasing, generator) if self.erasing > 0.0 else result
