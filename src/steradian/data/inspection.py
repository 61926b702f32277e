"""Inspect a data set before training."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steradian.data.images import SPLITS, ImageSet
from steradian.data.pixels import MAX_DAMAGED, Progress, Skipped, no_progress
from steradian.errors import DataError


@dataclass(frozen=True)
class Inspection:
    """Counts and sizes of an `ImageSet`, from decoding every image once.

    Attributes:
        images: how many there are, damaged ones included.
        per_class: images of each class.
        per_split: images of each split, empty where the source has none.
        smallest, median, largest: [height, width] by the shorter side.
        gray: whether all images are gray.
        skipped: images that cannot be decoded.
        copies: names of images with the very same pixels, a tuple for each duplicated image.
        leaks: number of those images that are in two parts (train, validation, test).
        confused: number of them that are in two classes.
        warnings: what is worth knowing before training.
    """

    source: str
    images: int
    classes: tuple[str, ...]
    per_class: dict[str, int]
    per_split: dict[str, int]
    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    gray: bool
    skipped: tuple[Skipped, ...]
    copies: tuple[tuple[str, ...], ...]
    leaks: int
    confused: int
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def inspect(images: ImageSet, progress: Progress = no_progress) -> Inspection:
    """Decode every image and report. Damaged images are listed, not raised."""
    sizes, gray, skipped = [], True, []
    places: dict[bytes, list[int]] = {}
    for index in progress(range(len(images)), len(images), "inspecting"):
        try:
            pixels = images.items.pixels(index)
        except DataError as error:
            skipped.append(Skipped(images.items.name(index), str(error)))
            continue
        sizes.append((int(pixels.shape[0]), int(pixels.shape[1])))
        gray = gray and pixels.ndim == 2
        content = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode())
        places.setdefault(content.digest(), []).append(index)
    if not sizes:
        raise DataError(f"{images.source}: not one of its {len(images)} images can be decoded.")
    sizes.sort(key=min)
    alike = [found for found in places.values() if len(found) > 1]
    splits = images.splits
    leaks = 0 if splits is None else sum(len(set(splits[found].tolist())) > 1 for found in alike)
    confused = sum(len(set(images.labels[found].tolist())) > 1 for found in alike)
    counts = np.bincount(images.labels, minlength=len(images.classes))
    per_split = {} if images.splits is None else {name: int((images.splits == name).sum()) for name in SPLITS}
    return Inspection(
        source=images.source,
        images=len(images),
        classes=images.classes,
        per_class={name: int(count) for name, count in zip(images.classes, counts, strict=True)},
        per_split=per_split,
        smallest=sizes[0],
        median=sizes[len(sizes) // 2],
        largest=sizes[-1],
        gray=gray,
        skipped=tuple(skipped),
        copies=tuple(tuple(images.items.name(index) for index in found) for found in alike),
        leaks=leaks,
        confused=confused,
        warnings=(*_warnings(images, counts, len(skipped)), *_of_copies(alike, leaks, confused, images)),
    )


def _warnings(images: ImageSet, counts: np.ndarray[Any, np.dtype[np.int64]], damaged: int) -> list[str]:
    warnings = lonely_classes(images.classes, images.labels)
    if counts.max() > 10 * max(1, int(counts.min())):
        warnings.append(
            f"The classes are unbalanced: {images.classes[int(counts.argmax())]!r} has {counts.max()} images, "
            f"{images.classes[int(counts.argmin())]!r} {counts.min()}."
        )
    if damaged:
        what = "training skips them" if damaged <= MAX_DAMAGED * len(images) else f"above {MAX_DAMAGED:.0%} is refused"
        warnings.append(f"{damaged} of {len(images)} images cannot be decoded; {what}.")
    if images.splits is not None and not (images.splits == "train").any():
        warnings.append("No image is in the training part: this data can be evaluated on, but not trained on.")
    return warnings


def _of_copies(alike: list[list[int]], leaks: int, confused: int, images: ImageSet) -> list[str]:
    """Return warnings about duplicate images."""
    warnings = []
    if alike:
        first = " and ".join(repr(images.items.name(index)) for index in alike[0][:2])
        warnings.append(f"{len(alike)} images occur more than once, such as {first}.")
    if leaks:
        warnings.append(f"{leaks} of them are in two parts, so test images would also be trained on.")
    if confused:
        warnings.append(f"{confused} of them are in two classes: one of the labels is wrong.")
    return warnings


def lonely_classes(classes: tuple[str, ...], labels: np.ndarray[Any, np.dtype[np.int64]]) -> list[str]:
    """Return a warning if classes have a single image: they can be trained on, but not tested."""
    lonely = [classes[label] for label in np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 1)]
    if not lonely:
        return []
    listed = ", ".join(repr(name) for name in lonely[:5]) + (", …" if len(lonely) > 5 else "")
    return [f"{len(lonely)} class(es) have a single image and cannot be tested: {listed}."]
