"""A set of labeled images: where each comes from, its label, and its split if the source names one."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steradian.data.decode import Pixels, decode
from steradian.errors import DataError
from steradian.files import printable

Labels = NDArray[np.int64]

SPLITS = ("train", "validation", "test")
DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    ValueError,
    KeyError,
)
"""What reading a damaged or encrypted zip may raise."""

MAX_MEMBER = 256 * 2**20
"""A file inside a zip that unpacks to more than 256 MiB is no picture of ours."""


class Items(Protocol):
    """Images that can be read one by one, in any process."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What to call the image in a message."""
        ...

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        """Decode it (see `decode.decode`). Raises `DataError` when it is damaged."""
        ...


@dataclass(frozen=True)
class FileItems:
    """Images in files of their own."""

    paths: tuple[Path, ...]

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
        found: Pixels = self.array[index]
        return found


@dataclass(frozen=True)
class ImageSet:
    """Labeled images.

    Attributes:
        source: what the user called it.
        items: the N images.
        labels: int64 [N] in 0..C-1.
        classes: the C class names; ``classes[label]`` names a label.
        splits: [N] of "train", "validation" or "test", or None where the source has no splits.
    """

    source: str
    items: Items
    labels: Labels
    classes: tuple[str, ...]
    splits: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if len(self.items) == 0:
            raise DataError(f"{self.source} holds no images. {EXPECTED}")
        if len(self.classes) < 2:
            raise DataError(
                f"{self.source} holds a single class ({self.classes[0]!r}); telling classes apart needs at least two."
            )

    def __len__(self) -> int:
        return len(self.items)


EXPECTED = (
    "Expected: a folder or zip with one folder of images per class (train/, validation/ and test/ above "
    "them are understood), an .npz with arrays x and y, or a .csv with the columns path,label[,split]."
)
