"""Decode all images of a set into one array; damaged images are skipped, counted and listed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import ArrayItems, ImageSet, Labels
from steradian.data.pixel_buffer import keep_rows, pixel_buffer
from steradian.data.preprocessing import Interpolation, Preprocessing, square
from steradian.errors import DataError
from steradian.files import sha256_of

MAX_DAMAGED = 0.05
"""A set with a larger share of damaged files is refused."""

Progress = Callable[[Iterable[int], int, str], Iterable[int]]
"""Wraps an iterable to show progress: (items, total, what) -> items."""


@dataclass(frozen=True)
class Skipped:
    """An image that could not be decoded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, repr=False)
class PixelSet:
    """Decoded images of one size.

    Attributes:
        pixels: uint8 [N, channels, size, size].
        labels: int64 [N] in 0..C-1.
        classes: C names.
        splits: [N] names of splits, or None.
        groups: [N] names of groups that must stay in one part, or None.
        names: name of each image for messages.
        skipped: images that could not be decoded.
    """

    source: str
    pixels: NDArray[np.uint8]
    labels: Labels
    classes: tuple[str, ...]
    splits: NDArray[np.str_] | None
    names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    groups: NDArray[np.str_] | None = None

    def __repr__(self) -> str:
        return f"PixelSet({self.source!r}, {len(self):,} images of {self.size} pixels, {len(self.classes):,} classes)"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Number of pixels per side."""
        return int(self.pixels.shape[2])

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""
        return int(self.pixels.shape[1])

    def at(self, chosen: NDArray[np.intp]) -> PixelSet:
        """Return the images ``chosen``; all class names are kept."""
        return replace(
            self,
            pixels=self.pixels[chosen],
            labels=self.labels[chosen],
            splits=self.splits[chosen] if self.splits is not None else None,
            groups=self.groups[chosen] if self.groups is not None else None,
            names=tuple(self.names[index] for index in chosen),
        )

    def digest(self) -> str:
        """Return a hash of the pixels, labels, class names, splits and groups, to identify the data of a result."""
        splits = b"" if self.splits is None else "\n".join(self.splits).encode()
        groups = b"" if self.groups is None else "\n".join(self.groups).encode()
        names = "\n".join(self.classes).encode()
        pixels = np.ascontiguousarray(self.pixels)
        shape = repr(pixels.shape).encode()
        return sha256_of(shape, pixels.data.cast("B"), self.labels.tobytes(), names, splits, groups)


def no_progress(items: Iterable[int], total: int, what: str) -> Iterable[int]:
    return items


def load_pixels(
    images: ImageSet,
    *,
    size: int,
    channels: int,
    crop: float = 1.0,
    interpolation: Interpolation = "bilinear",
    memory_limit: int | None = None,
    progress: Progress = no_progress,
) -> PixelSet:
    """Decode every image to uint8 [N, channels, size, size] (see `preprocessing.square`).

    A damaged file is skipped and listed. Decoding uses one thread per core, which does not affect the result.

    Args:
        memory_limit: bytes; None: half of the machine's memory. A larger one is stored in a file (see `pixel_buffer`).

    Raises:
        DataError: more than 5 % are damaged, a class has no image left, or memory and disk are too small.
    """
    pixels = pixel_buffer((len(images), channels, size, size), memory_limit)
    failures: dict[int, Skipped] = {}

    def decode_image(index: int) -> None:
        try:
            decoded = images.items.pixels(index, shortest=math.ceil(size / crop))
            pixels[index] = square(decoded, size, channels, crop, interpolation)
        except DataError as error:
            failures[index] = Skipped(images.items.name(index), str(error))

    indices = progress(range(len(images)), len(images), "decoding")
    if isinstance(images.items, ArrayItems):
        for index in indices:
            decode_image(index)
    else:
        with ThreadPoolExecutor(available_cores()) as pool:
            for _ in zip(indices, pool.map(decode_image, range(len(images))), strict=False):
                pass
    return _without_failures(images, pixels, failures)


def load_for(images: ImageSet, preprocessing: Preprocessing, progress: Progress = no_progress) -> PixelSet:
    """Decode ``images`` as ``preprocessing`` requires (see `load_pixels`)."""
    return load_pixels(
        images,
        size=preprocessing.size,
        channels=preprocessing.channels,
        crop=preprocessing.crop,
        interpolation=preprocessing.interpolation,
        progress=progress,
    )


def _without_failures(images: ImageSet, pixels: NDArray[np.uint8], failures: dict[int, Skipped]) -> PixelSet:
    skipped = tuple(failures[index] for index in sorted(failures))
    if len(failures) > MAX_DAMAGED * len(images):
        raise DataError(
            f"{len(failures)} of {len(images)} images in {images.source} cannot be decoded, more than "
            f"{MAX_DAMAGED:.0%}:\n{listing(skipped)}\nRepair or remove them; if most fail, check the folder."
        )
    indices = np.array([index for index in range(len(images)) if index not in failures])
    labels = images.labels[indices]
    empty = sorted(set(range(len(images.classes))) - set(labels.tolist()))
    if empty:
        raise DataError(
            f"No image of class {images.classes[empty[0]]!r} in {images.source} can be decoded:\n{listing(skipped)}"
        )
    return PixelSet(
        source=images.source,
        pixels=keep_rows(pixels, indices),
        labels=labels,
        classes=images.classes,
        splits=images.splits[indices] if images.splits is not None else None,
        names=tuple(images.items.name(int(index)) for index in indices),
        skipped=skipped,
        groups=images.groups[indices] if images.groups is not None else None,
    )


def listing(skipped: tuple[Skipped, ...], at_most: int = 10) -> str:
    """Return one line for each of the first ``at_most`` skipped images, and the number of the others."""
    lines = [f"  {item.name}: {item.reason}" for item in skipped[:at_most]]
    if len(skipped) > at_most:
        lines.append(f"  and {len(skipped) - at_most} more")
    return "\n".join(lines)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def subset(images: PixelSet, chosen: NDArray[np.intp]) -> PixelSet:
    """Return the images ``chosen`` with only the classes that they contain, in the original order."""
    result = images.at(chosen)
    codes, labels = np.unique(result.labels, return_inverse=True)
    return replace(result, labels=labels.astype(np.int64), classes=tuple(images.classes[code] for code in codes))


TURNS = ("", " ↶90°", " ↶180°", " ↶270°")
"""Suffixes of the names of rotated classes and images."""


def with_quarter_turns(images: PixelSet) -> PixelSet:
    """Return ``images`` rotated by 0, 90, 180 and 270 degrees; each rotation of a class is a separate class.

    For symbols and drawings: four times the classes to learn from (Santoro et al. 2016).
    """
    count = len(images.classes)
    rotated = [np.rot90(images.pixels, turns, axes=(2, 3)) for turns in range(len(TURNS))]
    return replace(
        images,
        pixels=np.concatenate(rotated),
        labels=np.concatenate([images.labels + turns * count for turns in range(len(TURNS))]),
        classes=tuple(f"{name}{suffix}" for suffix in TURNS for name in images.classes),
        splits=None if images.splits is None else np.tile(images.splits, len(TURNS)),
        groups=None if images.groups is None else np.tile(images.groups, len(TURNS)),
        names=tuple(f"{name}{suffix}" for suffix in TURNS for name in images.names),
    )


def with_known_first(images: PixelSet, known: tuple[str, ...]) -> PixelSet:
    """Return ``images`` with the class names ``known`` first, then its other classes; renumber the labels."""
    classes = known + tuple(name for name in images.classes if name not in set(known))
    label_of = {name: number for number, name in enumerate(classes)}
    codes = np.array([label_of[name] for name in images.classes], dtype=np.int64)
    return replace(images, labels=codes[images.labels], classes=classes)
