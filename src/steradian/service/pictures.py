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

SIDE = 320
"""Pixels of the longer side of a picture that is shown."""

AGE = 3600.0
"""Seconds after which a picture that nobody refers to is taken for left over."""


class Pictures:
    """A folder of image files as they were sent, each of one enrollment.

    Args:
        folder: made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, content: bytes) -> Path:
        """Write a picture; it is on the disk at the end. Raises `StorageError`."""
        # The name tells nothing, and two enrollments share no file, so that one can go without the other.
        name = f"{hashlib.sha256(content).hexdigest()[:16]}-{secrets.token_hex(8)}.image"
        path = (self.folder / name).resolve()
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        return path

    def forget(self, sources: Iterable[str]) -> None:
        """Delete those of ``sources`` that lie in the folder; files elsewhere are not ours."""
        folder = self.folder.resolve()
        for source in sources:
            path = Path(source)
            if path.parent == folder and path.suffix == ".image":
                with explained("remove", path):
                    path.unlink(missing_ok=True)

    def sweep(self, referred: set[str], now: float | None = None) -> int:
        """Delete what a killed enrollment left; how many."""
        now, gone = time.time() if now is None else now, 0
        for path in self.folder.resolve().glob("*.image") if self.folder.is_dir() else ():
            if str(path) not in referred and now - path.stat().st_mtime > AGE:
                path.unlink(missing_ok=True)
                gone += 1
        return gone


def shown(source: str, most_pixels: int) -> bytes:
    """A small JPEG of the image file ``source``, written anew. Raises `DataError` where there is none to show."""
    if not source or not Path(source).is_file():
        raise DataError("its picture was not kept, or is gone")
    picture = Image.fromarray(decode(Path(source), SIDE, most_pixels)).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
