"""Enroll folders of images: each folder is a name, and images already enrolled are skipped."""

from __future__ import annotations

import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steradian.data.image_files import AT_ONCE, image_files, read_images
from steradian.data.loading.damage import Skipped
from steradian.data.pixels import Progress
from steradian.data.preprocessing import Take
from steradian.errors import DataError, InputError, UsageError
from steradian.files import printable
from steradian.finding.alone import alone
from steradian.finding.regions import Quality
from steradian.gallery.gallery import Gallery
from steradian.gallery.hints import Hint
from steradian.gallery.records import ELSEWHERE, ImageRecord, as_source, checked_name
from steradian.models.image_batch import decode_file
from steradian.models.quality_gate import QualityGate

SAME = 0.9999
"""A cosine from which a file that was written again holds the picture that was enrolled."""


@dataclass(frozen=True)
class FolderEnrolled:
    """The result of `enroll_files`.

    Attributes:
        added: name -> number of images added.
        skipped: number of images already enrolled under their name.
        gone: names and files of enrolled images of these people whose files do not exist any more.
        replaced: number of enrolled images whose file holds another picture now: it took the place of the old one.
        failures: images that cannot be decoded.
        hints: warnings about odd images, see `Enrolled`.
    """

    added: dict[str, int]
    skipped: int
    replaced: int
    gone: tuple[tuple[str, str], ...]
    failures: tuple[Skipped, ...]
    hints: tuple[Hint, ...]


@dataclass(frozen=True)
class NamedFiles:
    """Image files by the name that they are enrolled under, and sentences about files that were passed over."""

    by_name: dict[str, list[Path]]
    notes: tuple[str, ...]


TABLES = frozenset({".csv", ".parquet"})


def people_of(paths: Sequence[Path], name: str | None) -> NamedFiles:
    """Return the image files of each name: each subfolder is one identity; with ``name`` all files are of that one."""
    by_name: dict[str, list[Path]] = {}
    notes: list[str] = []
    for path in paths:
        found = image_files([path])
        notes += found.notes
        for file in found.files:
            if file.suffix.lower() in TABLES:
                raise UsageError(
                    f"{printable(file)} is a table, and only pictures are enrolled. Give a folder with a subfolder per "
                    "name, or the pictures of one name with --name."
                )
            parts = file.relative_to(path).parts if path.is_dir() else ()
            if name is None and len(parts) < 2:
                raise UsageError(f"{file} is not in a subfolder that names it. Give --name, or a subfolder per name.")
            try:
                files = by_name.setdefault(checked_name(name if name is not None else parts[0]), [])
            except InputError as error:
                place = f" by the folder {printable(path / parts[0])}" if name is None else ""
                raise InputError(f"{printable(file)} cannot be enrolled{place}: {error}") from error
            if file not in files:
                files.append(file)
    return NamedFiles(by_name, tuple(notes))


def enroll_files(
    gallery: Gallery,
    people: Mapping[str, Sequence[Path]],
    metadata: Mapping[str, Any] | None = None,
    *,
    prominent: bool = False,
    force: bool = False,
    progress: Progress,
) -> FolderEnrolled:
    """Enroll the image files of ``people`` in batches; each batch is on disk before the next begins.

    A file that was enrolled under its name is skipped, unless it holds another picture since. Of a model with a finder
    a picture must show one region; with ``prominent``, the one that stands out most of several is enrolled. One that is
    too poor to tell anything by (`QualityGate`) is only enrolled with ``force``.
    """
    steps: list[tuple[str, list[Path]]] = []
    skipped = 0
    younger: list[tuple[Path, ImageRecord]] = []
    gone: list[tuple[str, str]] = []
    for name, files in people.items():
        number = gallery.register.backend.find(name)
        enrolled = {} if number is None else _enrolled_files(gallery, number)
        states = {} if number is None else gallery.register.backend.origins(number)
        new_files = []
        for file in files:
            # Earlier versions followed links.
            image = enrolled.get(_source(file)) or enrolled.get(as_source(file.resolve()))
            if image is None:
                new_files.append(file)
            elif _may_differ(file, image, states.get(image.id)):
                younger.append((file, image))
        skipped += len(files) - len(new_files)
        gone += [(name, source) for source in enrolled if _is_gone(gallery, source)]
        if metadata and enrolled and not new_files:
            gallery.register.describe(name, metadata)
        steps += [(name, list(new_files[start : start + AT_ONCE])) for start in range(0, len(new_files), AT_ONCE)]
    gallery.recognizer.accelerate_for(len(younger) + sum(len(files) for _, files in steps))
    added: dict[str, int] = {}
    failures: list[Skipped] = []
    hints: list[Hint] = []
    take: Take = "prominent" if prominent else "only"
    replaced, unreadable = _replace(gallery, younger, take, force)
    failures += unreadable
    for step in progress(range(len(steps)), len(steps), "enrolling"):
        name, files = steps[step]
        # Before they are read, so that a change meanwhile is noticed the next time.
        states_now = {file: _state(file) for file in files}
        readable, vectors, unreadable = _embedded(gallery, files, take, force)
        failures += unreadable
        if readable:
            sources = [_source(file) for file in readable]
            result = gallery.enroll_vectors(name, vectors, sources, metadata)
            gallery.register.note_files(
                {number: states_now[file] for number, file in zip(result.added, readable, strict=True)}
            )
            added[name] = added.get(name, 0) + result.images
            hints += result.hints
    return FolderEnrolled(added, skipped - replaced, replaced, tuple(gone), tuple(failures), tuple(hints))


def enroll_region(
    gallery: Gallery,
    name: str,
    file: Path,
    number: int,
    metadata: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> FolderEnrolled:
    """Enroll one region of a picture, by its number from the left, from 1.

    The part of the picture that shows it is kept beside the gallery, so that it can be embedded again.

    Raises:
        DataError: the picture has no region of this number, it cannot be cut out alone, or it is too poor.
    """
    shape = gallery.recognizer.preprocessing
    pixels = decode_file(file, shape)
    regions = shape.regions(pixels)
    if not 1 <= number <= len(regions):
        if not regions:
            raise DataError(f"{printable(file)}: nothing was found in it by {shape.finder!r}.")
        there = f"the regions 1 to {len(regions)}" if len(regions) > 1 else "one region"
        raise DataError(f"{printable(file)} has {there} by {shape.finder!r}, and no region {number}.")
    with gallery.register.backend.change():
        # Refuse what cannot be written before a picture is.
        pass
    try:
        part = alone(pixels, regions[number - 1], shape.finder)
        ((_, quality, square),) = shape.cut_out(part, "prominent")
        if not force:
            check_quality(quality, gallery.recognizer.gate)
    except DataError as error:
        raise DataError(f"{printable(file)}, region {number}: {error}.") from error
    vector = gallery.recognizer.embed_squares(np.stack([square]))
    if _is_enrolled(gallery, name, vector[0]):
        if metadata:
            gallery.register.describe(name, metadata)
        return FolderEnrolled({}, 1, 0, (), (), ())
    buffer = io.BytesIO()
    Image.fromarray(part).save(buffer, "PNG")
    kept = str(gallery.pictures.keep(buffer.getvalue()))
    try:
        result = gallery.enroll_vectors(name, vector, [kept], metadata, called=[file.name])
    except BaseException:
        gallery.pictures.forget([kept])
        raise
    return FolderEnrolled({name: 1}, 0, 0, (), (), tuple(result.hints))


def _is_enrolled(gallery: Gallery, name: str, vector: NDArray[np.float32]) -> bool:
    """Return whether an image with this unit vector [D] is enrolled under a name."""
    identity = gallery.register.backend.find(name)
    if identity is None:
        return False
    snapshot = gallery.snapshot()
    rows = snapshot.vectors[snapshot.identities == identity]
    return bool(len(rows)) and float((rows @ vector).max()) >= SAME


def _enrolled_files(gallery: Gallery, number: int) -> dict[str, ImageRecord]:
    """Return the images of an identity by their files; of several from one file, the last."""
    images = gallery.register.backend.images_of(number)
    # The files of an imported gallery are those of another machine, whatever their paths.
    return {image.source: image for image in images if not image.source.startswith(ELSEWHERE)}


def _source(file: Path) -> str:
    """Return the path of a file as it is recorded: where it was named, whatever it is linked to."""
    return as_source(file.absolute())


def _state(file: Path) -> str:
    """Return what changes when a file is written again or another takes its place, also by a moved folder."""
    found = file.stat()
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def _is_gone(gallery: Gallery, source: str) -> bool:
    """Return whether the file of an image does not exist any more; sources that are no paths cannot be gone."""
    return Path(source).is_absolute() and not gallery.pictures.find(source).exists()


def _may_differ(file: Path, image: ImageRecord, noted: str | None) -> bool:
    """Return whether a file may hold another picture than its image: by its state, or its time if none was noted."""
    return _state(file) != noted if noted is not None else _changed(file) > image.created


def _changed(file: Path) -> str:
    """Return when a file was written or put in its place, as `moment` writes it."""
    state = file.stat()
    seconds = max(state.st_mtime, state.st_ctime)
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds")


def check_quality(quality: Quality, gate: QualityGate | None) -> None:
    """Raise `DataError` for a region that is too poor to be enrolled."""
    if gate is not None and gate.is_poor(quality):
        raise DataError(
            f"it is blurred, covered or too small (sharpness {quality.sharpness:.2f}, score {quality.score:.2f}): "
            f"{gate.chance(quality):.0%} of people would be known again by such a picture. Take another, or force it"
        )


def _embedded(
    gallery: Gallery, files: Sequence[Path], take: Take, force: bool
) -> tuple[list[Path], NDArray[np.float32], list[Skipped]]:
    """Return the files that show one thing to enroll, their embeddings [N, D], and the others with what is wrong."""
    shape = gallery.recognizer.preprocessing
    read = read_images(files, shape.shortest)
    failures = [Skipped(str(file), reason) for file, reason in read.failures]
    readable, squares = [], []
    for file, pixels in zip(read.files, read.pixels, strict=True):
        try:
            if shape.finds:
                ((_, quality, square),) = shape.cut_out(pixels, take)
                if not force:
                    check_quality(quality, gallery.recognizer.gate)
            else:
                square = shape.square(pixels)
            squares.append(square)
            readable.append(file)
        except DataError as error:
            failures.append(Skipped(str(file), str(error)))
    empty = np.zeros((0, gallery.recognizer.embedding_size), np.float32)
    return readable, gallery.recognizer.embed_squares(np.stack(squares)) if squares else empty, failures


def _replace(
    gallery: Gallery, younger: Sequence[tuple[Path, ImageRecord]], take: Take, force: bool
) -> tuple[int, list[Skipped]]:
    """Embed files that are younger than their enrolled images again; replace the images that differ."""
    replaced = 0
    failures: list[Skipped] = []
    for start in range(0, len(younger), AT_ONCE):
        images = dict(younger[start : start + AT_ONCE])
        states = {file: _state(file) for file in images}
        noted: dict[int, str] = {}
        readable, vectors, unreadable = _embedded(gallery, list(images), take, force)
        failures += unreadable
        if not readable:
            continue
        snapshot = gallery.snapshot()
        for file, vector in zip(readable, vectors, strict=True):
            image = images[file]
            row = np.flatnonzero(snapshot.ids == image.id)
            number = image.id
            if len(row) and float(snapshot.vectors[row[0]] @ vector) < SAME:
                number = gallery.register.replace_image(image.id, vector, _source(file))
                replaced += 1
            if len(row):
                noted[number] = states[file]
        gallery.register.note_files(noted)
    return replaced, failures


def told_gone(gone: Sequence[tuple[str, str]]) -> list[str]:
    """Return a sentence about enrolled images whose files do not exist any more, or nothing."""
    if not gone:
        return []
    name, image = gone[0]
    images = "1 enrolled image" if len(gone) == 1 else f"{len(gone):,} enrolled images"
    return [
        f"{images} came from files that are gone, such as {image} of {name!r}, and stay enrolled. If they are wrong: "
        "steradian gallery images, then remove-image or move-image."
    ]
