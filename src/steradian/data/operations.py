"""Apply random torchvision operations to each image of a batch, all drawn from one generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def rand_augment(batch: Tensor, operations: int, magnitude: int, generator: torch.Generator) -> Tensor:
    """Apply RandAugment (Cubuk et al. 2020) to each image of ``batch`` [N, channels, H, W]; ``magnitude`` in 0..30."""
    from torchvision.transforms import InterpolationMode, v2

    operation = v2.RandAugment(operations, magnitude, interpolation=InterpolationMode.BILINEAR)
    levels = (batch * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
    return _each(levels, operation, generator).to(batch.dtype) / 255.0


def color_jitter(batch: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply brightness, contrast and saturation of each image by factors in 1 +- ``strength``, in random order."""
    from torchvision.transforms import v2

    return _each(batch, v2.ColorJitter(strength, strength, strength), generator)


def random_erasing(batch: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Apply random erasing (Zhong et al. 2020): fill 2 to 33 % of an image with noise, with ``probability``."""
    from torchvision.transforms import v2

    return _each(batch, v2.RandomErasing(probability, value="random"), generator).clamp(0.0, 1.0)


def _each(batch: Tensor, operation: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """Apply ``operation`` to each image; torch's global generator is seeded from ``generator``, then restored."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        return torch.stack([operation(image) for image in batch.cpu()]).to(batch.device)
