"""Inspect a data set before training."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.cores import available_cores
from steradian.data.images import SPLITS, ImageSet
from steradian.data.loading.damage import MAX_DAMAGED, Skipped
from steradian.data.pixels import Progress, no_progress
from steradian.data.sample import darkness
from steradian.errors import DataError

AT_ONCE = 64
SEEN = np.dtype([("height", np.int32), ("width", np.int32), ("gray", bool), ("brightest", np.uint8), ("digest", "V16")])
"""What is kept of an image."""


@dataclass(frozen=True)
class Inspection:
    """Counts and sizes of an `ImageSet`, from decoding every image once.

    Attributes:
        images: number of images, damaged ones included.
        per_class: number of images per class.
        per_split: number of images per split; empty if the source has no splits.
        smallest, median, largest: [height, width] of images, ordered by the shorter side.
        gray: whether all images are gray.
        skipped: images that cannot be decoded.
        copies: names of images with identical pixels, one tuple for each picture that occurs more than once.
        leaks: how many of those pictures occur in more than one part (train, validation, test).
        confused: how many of those pictures occur in more than one class.
        warnings: problems to know about before training.
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
    """Decode every image of ``images`` and report. Damaged images are listed and raise no error."""
    seen = np.zeros(len(images), dtype=SEEN)
    failures: dict[int, str] = {}

    def look(index: int) -> None:
        try:
            pixels = images.pixels(index)
        except DataError as error:
            failures[index] = str(error)
            return
        pixel_hash = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode())
        seen[index] = (*pixels.shape[:2], pixels.ndim == 2, pixels.max(), pixel_hash.digest())

    with ThreadPoolExecutor(available_cores()) as pool:
        # A few at a time, so that a million images do not wait in a queue.
        for start in progress(range(0, len(images), AT_ONCE), -(-len(images) // AT_ONCE), "inspecting"):
            list(pool.map(look, range(start, min(start + AT_ONCE, len(images)))))
    skipped = [Skipped(images.items.name(index), failures[index]) for index in sorted(failures)]
    whole = np.flatnonzero(seen["height"])
    if not len(whole):
        raise DataError(f"{images.source}: none of its {len(images)} images can be decoded.")
    sides = np.stack([seen["height"][whole], seen["width"][whole]], axis=1)
    sizes = sides[np.argsort(sides.min(axis=1), kind="stable")]
    gray = bool(seen["gray"][whole].all())
    duplicates = _duplicates(seen["digest"], whole)
    splits = images.splits
    leaks = 0 if splits is None else sum(len(set(splits[indices].tolist())) > 1 for indices in duplicates)
    confused = sum(len(set(images.labels[indices].tolist())) > 1 for indices in duplicates)
    counts = np.bincount(images.labels, minlength=len(images.classes))
    per_split = {} if images.splits is None else {name: int((images.splits == name).sum()) for name in SPLITS}
    return Inspection(
        source=images.source,
        images=len(images),
        classes=images.classes,
        per_class={name: int(count) for name, count in zip(images.classes, counts, strict=True)},
        per_split=per_split,
        smallest=_size(sizes[0]),
        median=_size(sizes[len(sizes) // 2]),
        largest=_size(sizes[-1]),
        gray=gray,
        skipped=tuple(skipped),
        copies=tuple(tuple(images.items.name(index) for index in indices) for indices in duplicates),
        leaks=leaks,
        confused=confused,
        warnings=(
            *images.notes,
            *darkness(int(seen["brightest"].max())),
            *_warnings(images, counts, len(skipped)),
            *_duplicate_warnings(duplicates, leaks, confused, images),
        ),
    )


def _size(sides: NDArray[np.int32]) -> tuple[int, int]:
    return int(sides[0]), int(sides[1])


def _duplicates(digests: NDArray[np.void], whole: NDArray[np.intp]) -> list[list[int]]:
    """Return the images with the same digest, by the first of them, each list in the order of the set."""
    _, group, counts = np.unique(digests[whole], return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[group] > 1)
    by_group: dict[int, list[int]] = {}
    for position in repeated.tolist():
        by_group.setdefault(int(group[position]), []).append(int(whole[position]))
    return list(by_group.values())


def _warnings(images: ImageSet, counts: np.ndarray[Any, np.dtype[np.int64]], damaged: int) -> list[str]:
    messages = lonely_classes(images.classes, images.labels)
    if counts.max() > 10 * max(1, int(counts.min())):
        messages.append(
            f"The classes are unbalanced: {images.classes[int(counts.argmax())]!r} has {counts.max()} images, "
            f"{images.classes[int(counts.argmin())]!r} {counts.min()}."
        )
    if damaged:
        few = damaged <= MAX_DAMAGED * len(images)
        consequence = "training skips them" if few else f"training refuses more than {MAX_DAMAGED:.0%}"
        messages.append(f"{damaged} of {len(images)} images cannot be decoded; {consequence}.")
    if images.splits is not None and not (images.splits == "train").any():
        messages.append("The training part has no images: this set can be used for evaluation, not for training.")
    return messages


def _duplicate_warnings(duplicates: list[list[int]], leaks: int, confused: int, images: ImageSet) -> list[str]:
    """Return warnings about pictures that occur more than once."""
    messages = []
    if duplicates:
        first = " and ".join(repr(images.items.name(index)) for index in duplicates[0][:2])
        messages.append(f"{len(duplicates)} pictures occur more than once, such as {first}.")
    if leaks:
        messages.append(f"{leaks} of them occur in more than one part: metrics would include images used for training.")
    if confused:
        messages.append(f"{confused} of them occur in more than one class: at least one label is wrong.")
    return messages


def lonely_classes(classes: tuple[str, ...], labels: np.ndarray[Any, np.dtype[np.int64]]) -> list[str]:
    """Return a warning if classes have a single image: they can be trained on, but not tested."""
    single = [classes[label] for label in np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 1)]
    if not single:
        return []
    listed = ", ".join(repr(name) for name in single[:5]) + (", …" if len(single) > 5 else "")
    return [f"{len(single)} class(es) have a single image and cannot be tested: {listed}."]
