"""Convert pixels to the input tensor of an encoder. Every saved model includes its preprocessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from steradian.data.model_input import Interpolation, Pixels, square
from steradian.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Scale the shorter side to ``size / crop``, cut the center square, then (x / 255 - mean) / std per channel.

    Attributes:
        size: pixels per side.
        channels: 1 (gray) or 3 (RGB).
        mean, std: one value per channel, for samples in [0, 1]; with a negative std, dark becomes light.
        crop: side of the square, as a share of the shorter side.
        interpolation: how images are scaled.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 or 3, but is {self.channels}.")
        if not 1 <= self.size <= 4096:
            raise InputError(f"the image size must be 1..4096 pixels, but is {self.size}.")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise InputError(f"mean and std need one value for each of the {self.channels} channels.")
        if not all(self.std):
            raise InputError(f"std must not be zero, but is {self.std}.")
        if not 0.0 < self.crop <= 1.0:
            raise InputError(f"crop must be above 0 and at most 1, but is {self.crop}.")
        if self.interpolation not in get_args(Interpolation):
            raise InputError(f"interpolation must be bilinear or bicubic, but is {self.interpolation!r}.")

    def square(self, pixels: Pixels) -> NDArray[np.uint8]:
        """Convert decoded pixels [H, W] or [H, W, 3] to uint8 [channels, size, size]."""
        return square(pixels, self.size, self.channels, self.crop, self.interpolation)

    @property
    def shortest(self) -> int:
        """Smallest length, in pixels, that the shorter side of a decoded image should have."""
        return math.ceil(self.size / self.crop)

    def inverted(self) -> Preprocessing:
        """Return the same input for images whose light and dark are exchanged: (1 - x - mean) / std."""
        return replace(self, mean=tuple(1.0 - value for value in self.mean), std=tuple(-value for value in self.std))

    def normalize(self, batch: Tensor) -> Tensor:
        """Normalize samples in [0, 1], float [N, channels, size, size], to the encoder's input."""
        mean, std = batch.new_tensor(self.mean)[:, None, None], batch.new_tensor(self.std)[:, None, None]
        return (batch - mean) / std


def statistics(pixels: NDArray[np.uint8], indices: NDArray[np.intp]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, in [0, 1], of the images ``indices`` of uint8 [N, C, H, W].

    Both are computed from the histogram of each channel, so no copy of the pixels is made.
    """
    means, deviations = [], []
    levels = np.arange(256) / 255.0
    for channel in range(pixels.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for index in indices:
            counts += np.bincount(pixels[index, channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ levels)
        means.append(mean)
        deviations.append(max(float(share @ (levels - mean) ** 2) ** 0.5, 1e-3))
    return tuple(means), tuple(deviations)
