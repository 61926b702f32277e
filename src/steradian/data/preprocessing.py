"""Convert pixels to the input tensor of an encoder. Every saved model includes its preprocessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from steradian.data.model_input import Interpolation, Pixels, square
from steradian.errors import DataError, InputError
from steradian.finding.finders import WHOLE, NothingFoundError, cut, find, template_of
from steradian.finding.regions import Quality, Region, most_prominent

if TYPE_CHECKING:
    from torch import Tensor

FOR_FINDERS = 2**15
"""A picture for a finder is decoded in full up to this size, so that boxes are in its own pixels."""


Take = Literal["every", "only", "prominent"]
"""Which regions of a picture are meant: all, the only one (several are refused), or the one that stands out most."""


@dataclass(frozen=True)
class Preprocessing:
    """Scale the shorter side to ``size / crop``, cut the center square, then (x / 255 - mean) / std per channel.

    With a finder, regions are cut out of the original picture instead, at ``size``.

    Attributes:
        size: pixels per side.
        channels: 1 (gray) or 3 (RGB).
        mean, std: one value per channel, for samples in [0, 1]; with a negative std, dark becomes light.
        crop: side of the square, as a share of the shorter side.
        interpolation: how images are scaled.
        finder: name of what finds the regions of a picture (`steradian.finding`); "whole": the center square.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    interpolation: Interpolation = "bilinear"
    finder: str = WHOLE

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
        """Convert decoded pixels [H, W] or [H, W, 3] to uint8 [channels, size, size].

        With a finder, it is the only region of the picture.

        Raises:
            NothingFoundError: the finder finds nothing.
            DataError: it finds several regions.
        """
        if not self.finds:
            return square(pixels, self.size, self.channels, self.crop, self.interpolation)
        return self.cut(pixels, self._taken(pixels, "only")[0])

    def prominent_square(self, pixels: Pixels) -> NDArray[np.uint8]:
        """Convert decoded pixels as `square` does; of several regions, take the one that stands out most.

        It is the rule for pictures that have one label: see `most_prominent`. Raises `NothingFoundError` if there is
        none.
        """
        return self.cut(pixels, self._taken(pixels, "prominent")[0]) if self.finds else self.square(pixels)

    def _taken(self, pixels: Pixels, take: Take) -> tuple[Region, ...]:
        """Return the regions of decoded pixels that are meant, at least one."""
        regions = self.regions(pixels)
        if not regions:
            raise NothingFoundError(f"nothing was found in it by {self.finder!r}")
        if take == "every":
            return regions
        if take == "prominent":
            return (most_prominent(regions, pixels.shape[1], pixels.shape[0]),)
        if len(regions) > 1:
            raise DataError(
                f"{len(regions)} regions were found in it by {self.finder!r}, and which of them is meant is not said: "
                "cut the picture to one of them, or say which (--region, or --prominent for the one that stands out)"
            )
        return regions

    @property
    def finds(self) -> bool:
        """Whether a picture may have several regions, or none."""
        return self.finder != WHOLE

    def regions(self, pixels: Pixels) -> tuple[Region, ...]:
        """Return the regions of decoded pixels [H, W] or [H, W, 3], from the left to the right."""
        return find(pixels, self.finder)

    def cut(self, pixels: Pixels, region: Region) -> NDArray[np.uint8]:
        """Cut a region out of decoded pixels: uint8 [channels, size, size]."""
        return square(cut(pixels, region, self.size, template_of(self.finder)), self.size, self.channels)

    def cut_out(self, pixels: Pixels, take: Take = "every") -> list[tuple[Region, Quality, NDArray[np.uint8]]]:
        """Return the regions of decoded pixels that ``take`` means, how well each can be seen, and its square.

        Raises:
            NothingFoundError: the finder finds nothing.
            DataError: it finds several, but only one may be there.
        """
        found = []
        for region in self._taken(pixels, take):
            square = self.cut(pixels, region)
            shown = square.transpose(1, 2, 0) if self.channels == 3 else square[0]
            found.append((region, Quality.of(region, shown, pixels), square))
        return found

    @property
    def shortest(self) -> int:
        """Smallest length, in pixels, that the shorter side of a decoded image should have."""
        return FOR_FINDERS if self.finds else math.ceil(self.size / self.crop)

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
