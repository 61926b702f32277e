"""Look at a few images of a set: their sizes, whether they are gray, and whether they are drawings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from steradian.data.images import ImageSet
from steradian.data.model_input import Pixels
from steradian.errors import DataError

Page = Literal["light", "dark"]

EDGE, PAGE_SHARE, MIDTONES = 0.15, 0.5, 0.2
"""A drawing has a median within ``EDGE`` of white or black, at least ``PAGE_SHARE`` of its pixels as near to that, and
at most ``MIDTONES`` of them between a quarter and three quarters of the range. Photographs have more tones."""

COLOR = 0.1
"""Largest mean difference between the channels of a drawing, as a share of the range."""

DARKEST = 32
"""A set whose samples all stay below this value, of 255, is nearly black."""

AGREEING = 0.9
"""Share of the images that must be drawings on the same kind of page."""


@dataclass(frozen=True)
class ImageSample:
    """What some images of a set say of all of them.

    Attributes:
        sizes: heights and widths, in pixels.
        gray: whether all are gray.
        page: for drawings, whether the page is lighter or darker than the strokes; None for other images.
        brightest: the highest value of all of their samples, of 255.
    """

    sizes: tuple[tuple[int, int], ...]
    gray: bool
    page: Page | None
    brightest: int = 255

    @property
    def native_size(self) -> int:
        """The median of the shorter sides."""
        return int(np.median([min(size) for size in self.sizes]))


def sample_images(images: ImageSet, count: int = 64) -> ImageSample:
    """Look at up to ``count`` evenly spaced images. Raises `DataError` if none of them can be decoded."""
    sizes: list[tuple[int, int]] = []
    pages: list[Page | None] = []
    gray, brightest = True, 0
    for index in np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)):
        try:
            pixels = images.pixels(int(index))
        except DataError:
            continue
        sizes.append((int(pixels.shape[0]), int(pixels.shape[1])))
        gray = gray and pixels.ndim == 2
        pages.append(page_of(pixels))
        brightest = max(brightest, int(pixels.max()))
    if not sizes:
        raise DataError(f"{images.source}: none of the sampled images can be decoded.")
    page: Page | None = None
    for kind in ("light", "dark"):
        if pages.count(kind) >= AGREEING * len(pages):
            page = kind
    return ImageSample(tuple(sizes), gray, page, brightest)


def darkness(brightest: int) -> list[str]:
    """Say that all images of a set are nearly black, as those of cameras with 12 bits in files of 16 bits."""
    if brightest >= DARKEST:
        return []
    return [
        f"All images are nearly black: no sample is above {brightest} of 255. Where files of 16 bits hold samples of "
        "fewer, such as 12, scale all of them by one factor first (12 bits: by 16)."
    ]


def page_of(pixels: Pixels) -> Page | None:
    """Return the page of a drawing with decoded pixels [H, W] or [H, W, 3]; None for any other image."""
    tones = pixels / 255.0
    if tones.ndim == 3:
        if float(np.ptp(tones, axis=2).mean()) > COLOR:
            return None
        tones = tones.mean(axis=2)
    page: Page = "light" if float(np.median(tones)) > 0.5 else "dark"
    from_page = 1.0 - tones if page == "light" else tones
    midtones = float(((from_page > 0.25) & (from_page < 0.75)).mean())
    is_drawing = float((from_page <= EDGE).mean()) >= PAGE_SHARE and midtones <= MIDTONES
    return page if is_drawing and float(from_page.max()) > 0.5 else None
