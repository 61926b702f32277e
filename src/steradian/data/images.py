"""Sets of labeled images: where each image comes from, its label, and its split if the source has splits."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steradian.data.decode import Pixels, decode
from steradian.errors import DataError
from steradian.files import printable
from steradian.notebook import facts_html

Labels = NDArray[np.int64]

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, RuntimeError, EOFError, ValueError, KeyError)
"""Exceptions that reading a damaged or encrypted zip may raise."""

MAX_MEMBER = 256 * 2**20
"""A file of more than 256 MiB inside a zip or tar is refused."""


class Items(Protocol):
    """Images that can be read one by one, in any process."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of the image for messages."""

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        """Decode the image (see `decode.decode`). Raises `DataError` when it is damaged."""


@dataclass(frozen=True)
class FileItems:
    """Images in separate files."""

    paths: tuple[Path, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return printable(self.paths[index])

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        return decode(self.paths[index], shortest)


@dataclass
class ZipItems:
    """Images inside a zip, read in place: nothing is extracted."""

    archive: Path
    members: tuple[str, ...]
    _open: zipfile.ZipFile | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.members)

    def name(self, index: int) -> str:
        return printable(f"{self.archive}:{self.members[index]}")

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        if self._open is None:
            self._open = zipfile.ZipFile(self.archive)
        try:
            if self._open.getinfo(self.members[index]).file_size > MAX_MEMBER:
                raise DataError(f"it unpacks to more than {MAX_MEMBER:,} bytes")
            content = self._open.read(self.members[index])
        except DAMAGED_ZIP as error:
            raise DataError(f"it cannot be read from the zip ({error})") from error
        return decode(content, shortest)


@dataclass(frozen=True)
class ArrayItems:
    """Images that are already decoded: uint8 [N, H, W] or [N, H, W, 3]."""

    source: str
    array: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.array)

    def name(self, index: int) -> str:
        return f"{self.source}[{index}]"

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        image: Pixels = self.array[index]
        return image


@dataclass(frozen=True)
class ChosenItems:
    """A subset of the images of ``items``."""

    items: Items
    chosen: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, index: int) -> str:
        return self.items.name(int(self.chosen[index]))

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        return self.items.pixels(int(self.chosen[index]), shortest)


@dataclass(frozen=True, repr=False)
class ImageSet:
    """Labeled images.

    Attributes:
        source: name of the source, as the user gave it.
        items: the N images.
        labels: int64 [N] in 0..C-1.
        classes: the C class names; ``classes[label]`` names a label.
        splits: [N] of "train", "validation" or "test", or None if the source has no splits.
        groups: [N] names of groups (a person, a scene) that must stay in one part, or None.
    """

    source: str
    items: Items
    labels: Labels
    classes: tuple[str, ...]
    splits: NDArray[np.str_] | None = None
    groups: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if len(self.items) == 0:
            raise DataError(f"{self.source} holds no images. {EXPECTED}")
        if len(self.classes) < 2:
            raise DataError(
                f"{self.source} has a single class ({self.classes[0]!r}); at least two are needed. To enroll one thing "
                "without training, use a built-in model: steradian enroll general FOLDER --gallery FILE."
            )

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"ImageSet({self.source!r}, {len(self):,} images, {len(self.classes):,} classes)"

    def _repr_html_(self) -> str:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        rows = {name: f"{count:,} images" for name, count in zip(self.classes[:20], counts.tolist(), strict=False)}
        more = {"…": f"{len(self.classes) - 20:,} more classes"} if len(self.classes) > 20 else {}
        return facts_html(repr(self), {**rows, **more})

    def with_min_images(self, count: int) -> ImageSet:
        """Return the set without classes that have fewer than ``count`` images.

        Raises:
            DataError: fewer than two classes are left.
        """
        sizes = np.bincount(self.labels, minlength=len(self.classes))
        if (sizes >= count).all():
            return self
        indices = np.flatnonzero(sizes[self.labels] >= count)
        if (sizes >= count).sum() < 2:
            raise DataError(
                f"{self.source}: {(sizes >= count).sum()} of {len(sizes)} classes have {count} images or more, and two "
                "are needed. Lower data.min_images."
            )
        codes, labels = np.unique(self.labels[indices], return_inverse=True)
        return ImageSet(
            self.source,
            ChosenItems(self.items, indices),
            labels.astype(np.int64),
            tuple(self.classes[code] for code in codes),
            self.splits[indices] if self.splits is not None else None,
            self.groups[indices] if self.groups is not None else None,
        )


EXPECTED = (
    "Expected: a folder or zip with one folder of images per class (optionally inside train/, "
    "validation/ and test/), tar shards, an .npz with arrays x and y, or a .csv or .parquet with the columns "
    "path,label[,split][,group]."
)


def natural_order(name: str) -> tuple[int, int, str]:
    """Return a sort key: numbers by value, before all other names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() else (1, 0, name)


def labeled(
    source: str,
    items: Items,
    names: Sequence[str],
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> ImageSet:
    """Make an `ImageSet` from the class name of each image; classes are sorted by `natural_order`."""
    if len(items) == 0:
        raise DataError(f"{source} holds no images. {EXPECTED}")
    names = [printable(name) for name in names]
    classes = tuple(sorted(set(names), key=natural_order))
    index = {name: position for position, name in enumerate(classes)}
    labels = np.array([index[name] for name in names], dtype=np.int64)
    return ImageSet(
        source,
        items,
        labels,
        classes,
        np.array(splits) if splits is not None else None,
        np.array(groups) if groups is not None else None,
    )
