"""Enrolled pictures, kept beside the gallery so that they can be shown, and embedded anew by a better model."""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from steradian.data.decode import decode
from steradian.errors import DataError
from steradian.files import atomic_file, explained

SUFFIX = ".image"

SIDE = 320
"""Pixels of the longer side of a picture that is shown."""

AGE = 3600.0
"""Seconds after which a picture that nobody refers to is taken for left over."""


class Pictures:
    """A folder of image files as they were sent, each of one enrollment.

    A picture is known by its name, which is random: the folder may move together with its gallery.

    Args:
        gallery: whose pictures they are; the folder beside it is made when the first comes.
    """

    def __init__(self, gallery: Path) -> None:
        self.folder = gallery.with_name(f"{gallery.name}.images").resolve()

    def keep(self, content: bytes) -> Path:
        """Write a picture; it is on the disk at the end. Raises `StorageError`."""
        # The name tells nothing, and two enrollments share no file, so that one can go without the other.
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:16]}-{secrets.token_hex(8)}{SUFFIX}"
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        return path

    def find(self, source: str) -> Path:
        """The file that ``source`` means: one of this folder by its name, wherever it was kept then, or the path."""
        place = Path(source)
        return self.folder / place.name if self._is_own(place) else place

    def _is_own(self, place: Path) -> bool:
        return place.suffix == SUFFIX and place.parent.name == self.folder.name and (self.folder / place.name).is_file()

    def forget(self, sources: Iterable[str]) -> None:
        """Delete those of ``sources`` that lie in the folder; files elsewhere are not ours."""
        for place in map(Path, sources):
            if self._is_own(place):
                with explained("remove", self.folder / place.name):
                    (self.folder / place.name).unlink(missing_ok=True)

    def sweep(self, referred: Iterable[str], now: float | None = None) -> int:
        """Delete what a killed enrollment left; how many.

        Args:
            referred: the sources of all images of the gallery.
        """
        now, names, gone = time.time() if now is None else now, {Path(source).name for source in referred}, 0
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            # Temporary files are those of writers that were killed.
            ours = path.suffix in (SUFFIX, ".tmp")
            if ours and path.name not in names and now - path.stat().st_mtime > AGE:
                path.unlink(missing_ok=True)
                gone += 1
        return gone


def shown(place: Path, most_pixels: int) -> bytes:
    """A small JPEG of the image file ``place``, written anew. Raises `DataError` where there is none to show."""
    if not place.is_file():
        raise DataError("its picture was not kept, or is gone")
    picture = Image.fromarray(decode(place, SIDE, most_pixels)).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
