"""Sets of labeled images: where each image comes from, its label, and its split if the source has splits."""

from __future__ import annotations

import hashlib
import lzma
import os
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steradian.data.decode import Content, decode
from steradian.data.model_input import Pixels
from steradian.data.remote import RemoteCache, is_remote, runs_an_event_loop
from steradian.data.text_column import Texts, codes_of
from steradian.errors import DataError
from steradian.files import printable, sha256_of
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

UNCOMPRESSED = (".bmp", ".dib", ".pbm", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff")
"""Endings of formats whose files have the same size for all pictures of a size."""

BLOCK, BLOCKS = 4096, 5
"""Bytes of a block, and blocks of a file, that tell whether it was written again."""

MAX_MEMBER = 256 * 2**20
"""A file of more than 256 MiB inside a zip or tar is refused."""


class Items(Protocol):
    """Undecoded images that can be read one by one, in any order and in any process.

    Attributes:
        needs_spawn: whether a forked process cannot read them.
    """

    @property
    def needs_spawn(self) -> bool: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of the image for messages."""

    def content(self, index: int) -> Content:
        """Return the image as it is stored. Raises `DataError` when it cannot be read."""

    def fingerprint(self) -> str:
        """Return a hash of what the images are stored as, without reading them all."""


def sampled_content(path: Path) -> bytes:
    """Return a hash of `BLOCKS` blocks of a file, evenly spread, by which a rewritten file is noticed."""
    digest = hashlib.blake2b(digest_size=16)
    if not is_remote(path) and path.is_file():
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for start in sorted({(size - BLOCK) * number // (BLOCKS - 1) for number in range(BLOCKS)}):
                file.seek(max(0, start))
                digest.update(file.read(BLOCK))
    return digest.digest()


def check_different(names: Sequence[str], what: str) -> None:
    """Raise `DataError` if two of the class ``names`` are the same."""
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{what} has {name!r} {count} times, so that different classes would be one.")


@dataclass
class FileItems:
    """Images in separate files.

    Attributes:
        folder: a folder, or an address with the same methods.
        names: [N] paths in it.
        sizes: int64 [N], bytes when the set was opened; None where they are not known.
    """

    folder: Path
    names: Texts = field(repr=False)
    sizes: NDArray[np.int64] | None = field(default=None, repr=False)
    _cache: RemoteCache = field(default_factory=RemoteCache, repr=False)

    @property
    def needs_spawn(self) -> bool:
        return runs_an_event_loop(self.folder)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        if is_remote(self.folder):
            return f"{self.folder}/{self.names[index]}"
        return printable(self._path(index))

    def _path(self, index: int) -> str:
        return os.path.join(self.folder, self.names[index])  # noqa: PTH118 - made for every image

    def content(self, index: int) -> Content:
        if is_remote(self.folder):
            return self._cache.read(self.folder / self.names[index])
        path = self._path(index)
        if self.sizes is not None:
            try:
                size = os.stat(path).st_size  # noqa: PTH116
            except OSError as error:
                raise DataError("it does not exist any more") from error
            if size != self.sizes[index]:
                raise DataError(f"it had {self.sizes[index]:,} bytes when the run began, and now has {size:,}")
        return Path(path)

    def fingerprint(self) -> str:
        sizes = b"" if self.sizes is None else self.sizes.tobytes()
        # Of formats that are not compressed, the size does not tell one picture from another.
        hashed = (
            sampled_content(Path(self._path(index)))
            for index, name in enumerate(self.names)
            if name.lower().endswith(UNCOMPRESSED) and not is_remote(self.folder)
        )
        names = "\n".join(self.names).encode("utf-8", "surrogateescape")
        return sha256_of(names, sizes, *hashed)


@dataclass
class ZipItems:
    """Images inside a zip, read in place: nothing is extracted."""

    archive: Path
    members: Texts = field(repr=False)
    stored: NDArray[np.int64] = field(repr=False)
    _open: tuple[int, zipfile.ZipFile] | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.archive, self.members, self.stored)

    @property
    def needs_spawn(self) -> bool:
        return runs_an_event_loop(self.archive)

    def __len__(self) -> int:
        return len(self.members)

    def name(self, index: int) -> str:
        return printable(f"{self.archive}:{self.members[index]}")

    def content(self, index: int) -> Content:
        # Processes that share a file handle would move each other's position in it.
        if self._open is None or self._open[0] != os.getpid():
            place: Any = self.archive.open("rb") if is_remote(self.archive) else self.archive
            self._open = os.getpid(), zipfile.ZipFile(place)
        archive = self._open[1]
        try:
            if archive.getinfo(self.members[index]).file_size > MAX_MEMBER:
                raise DataError(f"it unpacks to more than {MAX_MEMBER:,} bytes")
            return archive.read(self.members[index])
        except DAMAGED_ZIP as error:
            raise DataError(f"it cannot be read from the zip ({error})") from error

    def fingerprint(self) -> str:
        return sha256_of("\n".join(self.members).encode(), self.stored.tobytes())


@dataclass(frozen=True)
class ArrayItems:
    """Images that are already decoded: uint8 [N, H, W] or [N, H, W, 3]."""

    source: str
    array: NDArray[np.uint8]
    needs_spawn: bool = field(default=False, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.array)

    def name(self, index: int) -> str:
        return f"{self.source}[{index}]"

    def content(self, index: int) -> Content:
        image: Pixels = self.array[index]
        return image

    def fingerprint(self) -> str:
        return sha256_of(repr(self.array.shape).encode(), np.ascontiguousarray(self.array).data.cast("B"))


@dataclass(frozen=True)
class ChosenItems:
    """A subset of the images of ``items``."""

    items: Items
    chosen: NDArray[np.intp]

    @property
    def needs_spawn(self) -> bool:
        return self.items.needs_spawn

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, index: int) -> str:
        return self.items.name(int(self.chosen[index]))

    def content(self, index: int) -> Content:
        return self.items.content(int(self.chosen[index]))

    def fingerprint(self) -> str:
        return sha256_of(self.items.fingerprint().encode(), self.chosen.tobytes())


@dataclass(frozen=True)
class JoinedItems:
    """The images of two sets, one after the other."""

    parts: tuple[Items, Items]

    @property
    def needs_spawn(self) -> bool:
        return any(part.needs_spawn for part in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def _part(self, index: int) -> tuple[Items, int]:
        first = len(self.parts[0])
        return (self.parts[0], index) if index < first else (self.parts[1], index - first)

    def name(self, index: int) -> str:
        part, inside = self._part(index)
        return part.name(inside)

    def content(self, index: int) -> Content:
        part, inside = self._part(index)
        return part.content(inside)

    def fingerprint(self) -> str:
        return sha256_of(*(part.fingerprint().encode() for part in self.parts))


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
        notes: what the user should know of how the set was opened, such as rows that were left out.
    """

    source: str
    items: Items
    labels: Labels
    classes: tuple[str, ...]
    splits: NDArray[np.str_] | None = None
    groups: NDArray[np.str_] | None = None
    notes: tuple[str, ...] = ()

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

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        """Decode an image (see `decode.decode`). Raises `DataError` when it is damaged."""
        return decode(self.items.content(index), shortest)

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
            self.notes,
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
    names: Iterable[str],
    splits: Sequence[str] | NDArray[np.str_] | None = None,
    groups: Sequence[str] | Texts | None = None,
    notes: tuple[str, ...] = (),
) -> ImageSet:
    """Make an `ImageSet` from the class name of each image; classes are sorted by `natural_order`."""
    if len(items) == 0:
        raise DataError(f"{source} holds no images. {EXPECTED}")
    codes, found = codes_of(names, len(items))
    # Systems spell an accented letter as one sign or as two; it is one class.
    shown = [unicodedata.normalize("NFC", printable(name)) for name in found]
    classes = tuple(sorted(set(shown), key=natural_order))
    index = {name: position for position, name in enumerate(classes)}
    labels = np.array([index[name] for name in shown], dtype=np.int64)[codes]
    return ImageSet(
        source,
        items,
        labels,
        classes,
        np.array(splits) if splits is not None else None,
        np.array(list(groups)) if groups is not None else None,
        notes,
    )
