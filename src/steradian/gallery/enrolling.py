"""Folders of images into a gallery: a folder is a name, and what is there already is skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steradian.data.decode import SUFFIXES
from steradian.data.image_files import AT_ONCE, read_images
from steradian.data.pixels import Progress, Skipped
from steradian.errors import UsageError
from steradian.gallery.gallery import Gallery
from steradian.gallery.store import as_source, checked_name


@dataclass(frozen=True)
class FolderEnrolled:
    """What came of `enroll_files`.

    Attributes:
        added: name -> how many images were added.
        skipped: how many were enrolled under that name already.
        failures: images that cannot be decoded.
        hints: what is odd, see `Gallery.enroll`.
    """

    added: dict[str, int]
    skipped: int
    failures: tuple[Skipped, ...]
    hints: tuple[str, ...]


def people_of(paths: Sequence[Path], name: str | None) -> dict[str, list[Path]]:
    """Name -> image files: each folder inside of a folder is somebody; with ``name`` everything is of that one.

    Raises:
        UsageError: a path that does not exist; images without a name.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: check the spelling.")
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if path.is_dir() and (file.suffix.lower() not in SUFFIXES or not file.is_file()):
                continue
            inside = file.relative_to(path).parts if path.is_dir() else ()
            if name is None and len(inside) < 2:
                raise UsageError(f"{file} is in no folder that names it. Give --name, or one folder for each name.")
            files = found.setdefault(checked_name(name if name is not None else inside[0]), [])
            if file not in files:
                files.append(file)
    if not found:
        raise UsageError("No image was named: the folders hold none.")
    return found


def enroll_files(
    gallery: Gallery,
    people: Mapping[str, Sequence[Path]],
    metadata: Mapping[str, Any] | None = None,
    *,
    progress: Progress,
) -> FolderEnrolled:
    """Enroll the image files of ``people``, a few at a time; each step is on the disk before the next begins."""
    held = {(name, source) for name, source in gallery.store.sources().values()}
    steps: list[tuple[str, list[Path]]] = []
    skipped = 0
    for name, files in people.items():
        fresh = [file for file in files if (name, as_source(file.resolve())) not in held]
        skipped += len(files) - len(fresh)
        steps += [(name, list(fresh[start : start + AT_ONCE])) for start in range(0, len(fresh), AT_ONCE)]
    added: dict[str, int] = {}
    failures: list[Skipped] = []
    hints: list[str] = []
    shortest = gallery.recognizer.preprocessing.shortest
    for step in progress(range(len(steps)), len(steps), "enrolling"):
        name, files = steps[step]
        read = read_images(files, shortest)
        failures += [Skipped(str(file), reason) for file, reason in read.failures]
        if read.files:
            sources = [as_source(file.resolve()) for file in read.files]
            done = gallery.enroll(name, read.pixels, sources=sources, metadata=metadata)
            added[name] = added.get(name, 0) + done.images
            hints += done.hints
    return FolderEnrolled(added, skipped, tuple(failures), tuple(hints))
