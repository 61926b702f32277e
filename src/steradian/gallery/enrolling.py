"""Enroll folders of images: each folder is a name, and images already enrolled are skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steradian.data.image_files import AT_ONCE, image_files, read_images
from steradian.data.loading.damage import Skipped
from steradian.data.pixels import Progress
from steradian.errors import UsageError
from steradian.gallery.gallery import Gallery
from steradian.gallery.hints import Hint
from steradian.gallery.records import ELSEWHERE, as_source, checked_name


@dataclass(frozen=True)
class FolderEnrolled:
    """The result of `enroll_files`.

    Attributes:
        added: name -> number of images added.
        skipped: number of images already enrolled under their name.
        failures: images that cannot be decoded.
        hints: warnings about odd images, see `Enrolled`.
    """

    added: dict[str, int]
    skipped: int
    failures: tuple[Skipped, ...]
    hints: tuple[Hint, ...]


@dataclass(frozen=True)
class NamedFiles:
    """Image files by the name that they are enrolled under, and sentences about files that were passed over."""

    by_name: dict[str, list[Path]]
    notes: tuple[str, ...]


def people_of(paths: Sequence[Path], name: str | None) -> NamedFiles:
    """Return the image files of each name: each subfolder is one identity; with ``name`` all files are of that one."""
    by_name: dict[str, list[Path]] = {}
    notes: list[str] = []
    for path in paths:
        found = image_files([path])
        notes += found.notes
        for file in found.files:
            parts = file.relative_to(path).parts if path.is_dir() else ()
            if name is None and len(parts) < 2:
                raise UsageError(f"{file} is not in a subfolder that names it. Give --name, or a subfolder per name.")
            files = by_name.setdefault(checked_name(name if name is not None else parts[0]), [])
            if file not in files:
                files.append(file)
    return NamedFiles(by_name, tuple(notes))


def enroll_files(
    gallery: Gallery,
    people: Mapping[str, Sequence[Path]],
    metadata: Mapping[str, Any] | None = None,
    *,
    progress: Progress,
) -> FolderEnrolled:
    """Enroll the image files of ``people`` in batches; each batch is on disk before the next begins."""
    recorded = gallery.register.backend.sources().values()
    enrolled = {(name, source.removeprefix(ELSEWHERE)) for name, source in recorded}
    steps: list[tuple[str, list[Path]]] = []
    skipped = 0
    for name, files in people.items():
        new_files = [file for file in files if (name, as_source(file.resolve())) not in enrolled]
        skipped += len(files) - len(new_files)
        steps += [(name, list(new_files[start : start + AT_ONCE])) for start in range(0, len(new_files), AT_ONCE)]
    added: dict[str, int] = {}
    failures: list[Skipped] = []
    hints: list[Hint] = []
    shortest = gallery.recognizer.preprocessing.shortest
    for step in progress(range(len(steps)), len(steps), "enrolling"):
        name, files = steps[step]
        read = read_images(files, shortest)
        failures += [Skipped(str(file), reason) for file, reason in read.failures]
        if read.files:
            sources = [as_source(file.resolve()) for file in read.files]
            result = gallery.enroll(name, read.pixels, sources=sources, metadata=metadata)
            added[name] = added.get(name, 0) + result.images
            hints += result.hints
    return FolderEnrolled(added, skipped, tuple(failures), tuple(hints))
