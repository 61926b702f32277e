"""Keep enrolled pictures beside the gallery, to show them and to embed them again by a better model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from steradian.data.decode import decode
from steradian.data.model_input import Pixels
from steradian.errors import DataError
from steradian.files import atomic_file, explained
from steradian.gallery.records import ELSEWHERE

SUFFIX = ".image"

FOLDER = ".images"
"""Ends the name of the folder, which begins with that of the gallery."""

KEPT = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.image")
"""Names of kept pictures."""

SIDE = 320
"""Longer side of a displayed picture, in pixels."""

AGE = 3600.0
"""Seconds after which a picture that no enrolled image refers to is deleted."""


class Pictures:
    """A folder of uploaded image files beside the gallery's file, one file for each enrolled image.

    A picture is found by its random file name, so that gallery and folder may be moved and renamed.
    """

    def __init__(self, gallery: Path) -> None:
        self._gallery = gallery.resolve()
        self.folder = self._gallery.with_name(f"{self._gallery.name}{FOLDER}")

    def keep(self, content: bytes) -> Path:
        """Write a picture to disk and return its path. Raises `StorageError`."""
        # The name reveals nothing, and enrollments share no files, so that each can be deleted alone.
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:16]}-{secrets.token_hex(8)}{SUFFIX}"
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        return path

    def find(self, source: str) -> Path:
        """Return the file of ``source``: the picture with its name in this folder, else the path itself.

        Raises:
            DataError: the image came with an imported file, whose paths are those of another machine.
        """
        if source.startswith(ELSEWHERE):
            raise DataError("it came with an imported file, and its picture is not here")
        return self._own(source) or Path(source)

    def _own(self, source: str) -> Path | None:
        """Return the kept picture of ``source``: by its name in this folder, or left behind in that of an old name.

        A folder beside which its gallery still lies belongs to that one.
        """
        path = Path(source)
        if source.startswith(ELSEWHERE) or not KEPT.fullmatch(path.name):
            return None
        if (self.folder / path.name).is_file():
            return self.folder / path.name
        gallery = path.parent.with_name(path.parent.name.removesuffix(FOLDER))
        left = not gallery.exists() or gallery.resolve() == self._gallery
        return path if path.parent.name.endswith(FOLDER) and left and path.is_file() else None

    def forget(self, sources: Iterable[str]) -> None:
        """Delete the kept pictures of ``sources``; leave all other files alone."""
        for path in filter(None, map(self._own, sources)):
            with explained("remove", path):
                path.unlink(missing_ok=True)

    def sweep(self, referred: Iterable[str], now: float | None = None) -> int:
        """Delete the files that killed enrollments left, those not in the sources ``referred``; return how many."""
        now, names, deleted = time.time() if now is None else now, {Path(source).name for source in referred}, 0
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            # Temporary files were left by killed writers.
            ours = path.suffix in (SUFFIX, ".tmp")
            if ours and path.name not in names and now - path.stat().st_mtime > AGE:
                with contextlib.suppress(OSError):
                    # On a read-only volume they stay, and harm nobody.
                    path.unlink()
                    deleted += 1
        return deleted


def decoded(path: Path, shortest: int, most_pixels: int | None = None) -> Pixels:
    """Decode the picture at ``path`` of an enrolled image. Raises `DataError` if it is missing or no regular file."""
    if not path.is_file():
        raise DataError("its picture was not kept, or is gone")
    return decode(path, shortest, most_pixels)


def shown(path: Path, most_pixels: int) -> bytes:
    """Return a small, newly encoded JPEG of the image file ``path``. Raises `DataError` if it is missing."""
    picture = Image.fromarray(decoded(path, SIDE, most_pixels)).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
