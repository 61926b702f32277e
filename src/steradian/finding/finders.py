"""Finders by name: functions from a picture to its regions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Protocol

import numpy as np

from steradian.errors import DataError, InputError, UsageError, did_you_mean
from steradian.finding.alignment import of_box, similarity, warp
from steradian.finding.regions import Pixels, Points, Region

GROUP = "steradian.finders"
"""Entry points of this group are finders, too: a class or function that returns one."""

WHOLE = "whole"
"""The finder that gives the picture as it is."""

CENTER_SHARE = 0.6
"""Side of the region of "center", as a share of the picture's shorter side."""


class NothingFoundError(DataError):
    """A finder finds no region in a picture."""


class Finder(Protocol):
    """Find the regions of a picture.

    Attributes:
        template: where the points of a region lie in the square that is cut out, [P, 2] from 0 to 1; None: the square
            is the one around the box.
    """

    @property
    def template(self) -> Points | None: ...

    def __call__(self, pixels: Pixels) -> Sequence[Region]:
        """Return the regions of uint8 pixels [H, W] or [H, W, 3], in any order."""


class Whole:
    """The middle square of the picture, with its whole shorter side."""

    template: Points | None = None
    share = 1.0

    def __call__(self, pixels: Pixels) -> tuple[Region, ...]:
        """Return one region."""
        height, width = pixels.shape[:2]
        half = self.share * min(height, width) / 2.0
        return (Region((width / 2.0 - half, height / 2.0 - half, width / 2.0 + half, height / 2.0 + half)),)


class Center(Whole):
    """The middle of the picture, for pictures that are aligned already but show too much around it."""

    share = CENTER_SHARE


def _faces() -> Finder:
    from steradian.finding.faces import Faces

    return Faces()


def _arcface_faces() -> Finder:
    from steradian.finding.faces import ArcFaceFaces

    return ArcFaceFaces()


BUILT_IN: dict[str, Callable[[], Finder]] = {
    WHOLE: Whole,
    "center": Center,
    "faces": _faces,
    "faces-arcface": _arcface_faces,
}


def finder_names() -> tuple[str, ...]:
    """Return the names of all finders: the built-in ones, and those of installed packages."""
    return (*BUILT_IN, *sorted({point.name for point in metadata.entry_points(group=GROUP)} - BUILT_IN.keys()))


@functools.lru_cache(maxsize=8)
def finder(name: str) -> Finder:
    """Return the finder ``name``.

    Raises:
        UsageError: there is none of that name, or what it needs is not installed.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    for point in metadata.entry_points(group=GROUP, name=name):
        made: Finder = point.load()()
        return made
    raise UsageError(f"There is no finder {name!r}. {did_you_mean(name, finder_names())}")


def template_of(by: str | Finder) -> Points | None:
    """Return the template of a finder; a plain function has none."""
    template: Points | None = getattr(finder(by) if isinstance(by, str) else by, "template", None)
    return template


def find(pixels: Pixels, by: str | Finder = "faces") -> tuple[Region, ...]:
    """Return the regions of a picture, uint8 [H, W] or [H, W, 3], from the left to the right.

    Args:
        by: the name of a finder (`finder_names`) or any function from pixels to regions.

    Raises:
        UsageError: no such finder, or what it needs is not installed.
        InputError: ``pixels`` are no picture, or a finder of your own gave a box without area.

    Example:
        >>> import numpy as np
        >>> [region.box for region in find(np.zeros((40, 60), np.uint8), "whole")]
        [(10.0, 0.0, 50.0, 40.0)]
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise InputError(f"a picture is uint8 [H, W] or [H, W, 3], but got {pixels.dtype} {list(pixels.shape)}.")
    regions = tuple((finder(by) if isinstance(by, str) else by)(pixels))
    for region in regions:
        of_box(region.box, 1)
    return tuple(sorted(regions, key=lambda region: (region.box[0], region.box[1])))


def cut(pixels: Pixels, region: Region, size: int, template: Points | None = None) -> Pixels:
    """Cut a region out of its picture: uint8 [size, size] or [size, size, 3].

    A region whose points are known is turned and scaled so that they come to lie where ``template`` has them.
    """
    if region.points is not None and template is not None:
        return warp(pixels, similarity(region.points, size * template), size)
    return warp(np.ascontiguousarray(pixels), of_box(region.box, size), size)
