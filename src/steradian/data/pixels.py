"""Labeled images of one size: decoded into one array, or read from their files when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steradian.data.cores import available_cores
from steradian.data.images import ArrayItems, ImageSet, JoinedItems, Labels
from steradian.data.loading.damage import DamageLog, Skipped
from steradian.data.loading.plan import ReadingPlan, ReadingSettings, reading_plan
from steradian.data.loading.reader import Views
from steradian.data.loading.stream import ReadingPool, StreamedPixels
from steradian.data.model_input import Interpolation
from steradian.data.preprocessing import Preprocessing, statistics
from steradian.errors import DataError, UsageError
from steradian.files import sha256_of
from steradian.finding.finders import WHOLE, NothingFoundError

Indices = NDArray[np.intp]
Progress = Callable[[Iterable[int], int, str], Iterable[int]]
"""Wraps an iterable to show progress: (items, total, what) -> items."""

STATISTICS_OF = 512
"""Images of a streamed set whose mean and deviation stand for those of all."""


@dataclass(frozen=True, repr=False)
class PixelSet:
    """Images of one size.

    Attributes:
        pixels: uint8 [N, channels, size, size], decoded or streamed.
        labels: int64 [N] in 0..C-1.
        classes: C names.
        splits: [N] names of splits, or None.
        groups: [N] names of groups that must stay in one part, or None.
        names: name of each image for messages.
        failed: images that could not be used, where all were decoded at once.
        unfound: names of those in which nothing was found, and which another finder cut out, see `load_pixels`.
        lost: classes that are left out, because nothing was found in any of their images.
    """

    source: str
    pixels: NDArray[np.uint8] | StreamedPixels
    labels: Labels
    classes: tuple[str, ...]
    splits: NDArray[np.str_] | None
    names: Sequence[str]
    failed: tuple[Skipped, ...] = ()
    groups: NDArray[np.str_] | None = None
    unfound: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"PixelSet({self.source!r}, {len(self):,} images of {self.size} pixels, {len(self.classes):,} classes)"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Number of pixels per side."""
        return int(self.pixels.shape[2])

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""
        return int(self.pixels.shape[1])

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The images that could not be used: all of them, or those that were met so far where they are streamed."""
        return self.pixels.pool.damage.sorted if isinstance(self.pixels, StreamedPixels) else self.failed

    def at(self, chosen: Indices) -> PixelSet:
        """Return the images ``chosen``; all class names are kept."""
        pixels = self.pixels.take(chosen) if isinstance(self.pixels, StreamedPixels) else self.pixels[chosen]
        return replace(
            self,
            pixels=pixels,
            labels=self.labels[chosen],
            splits=self.splits[chosen] if self.splits is not None else None,
            groups=self.groups[chosen] if self.groups is not None else None,
            names=StreamedNames(pixels)
            if isinstance(pixels, StreamedPixels)
            else tuple(self.names[index] for index in chosen),
        )

    def blocks(
        self,
        chosen: Indices,
        at_once: int,
        progress: Progress | None = None,
        what: str = "reading",
        views: Views | None = None,
    ) -> Iterator[tuple[Indices, NDArray[np.uint8]]]:
        """Yield the images ``chosen``, ``at_once`` at a time: which ones, [n], and uint8 [n, channels, size, size].

        Of a streamed set, damaged images are left out and counted, and ``views`` of the others may be asked for.

        Raises:
            DataError: too many of them are.
        """
        parts = [chosen[start : start + at_once] for start in range(0, len(chosen), at_once)]
        shown = (progress or no_progress)(range(len(parts)), len(parts), what)
        if isinstance(self.pixels, StreamedPixels):
            pixels = self.pixels
            begins = np.cumsum([0, *map(len, parts)])
            loaded = pixels.pool.read(
                pixels.request(part, begin + np.arange(len(part)), views)
                for part, begin in zip(parts, begins, strict=False)
            )
            for number, one in zip(shown, loaded, strict=False):
                yield parts[number][one.kept], one.samples.numpy()
        else:
            for number in shown:
                yield parts[number], self.pixels[parts[number]]

    def statistics(self, indices: Indices) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and deviation per channel of some images; of a streamed set, from `STATISTICS_OF` of them."""
        if not isinstance(self.pixels, StreamedPixels):
            return statistics(self.pixels, indices)
        chosen = indices[np.linspace(0, len(indices) - 1, min(STATISTICS_OF, len(indices))).astype(np.intp)]
        seen = np.concatenate([block for _, block in self.blocks(chosen, 64)])
        return statistics(seen, np.arange(len(seen)))

    def digest(self) -> str:
        """Return a hash of the pixels, labels, class names, splits and groups, to identify the data of a result.

        For a streamed set the names and sizes of the files stand for the pixels.
        """
        splits = b"" if self.splits is None else "\n".join(self.splits).encode()
        groups = b"" if self.groups is None else "\n".join(self.groups).encode()
        names = "\n".join(self.classes).encode()
        shape = repr(self.pixels.shape).encode()
        if isinstance(self.pixels, StreamedPixels):
            return sha256_of(shape, self.pixels.fingerprint().encode(), self.labels.tobytes(), names, splits, groups)
        pixels = np.ascontiguousarray(self.pixels)
        return sha256_of(shape, pixels.data.cast("B"), self.labels.tobytes(), names, splits, groups)


class StreamedNames(Sequence[str]):
    """The names of streamed images, made when they are asked for."""

    def __init__(self, pixels: StreamedPixels) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        turns = 0 if self.pixels.turns is None else int(self.pixels.turns[index])
        return self.pixels.pool.images.items.name(int(self.pixels.rows[index])) + TURNS[turns]


def no_progress(items: Iterable[int], total: int, what: str) -> Iterable[int]:
    return items


def load_pixels(
    images: ImageSet,
    *,
    size: int,
    channels: int,
    crop: float = 1.0,
    interpolation: Interpolation = "bilinear",
    finder: str = WHOLE,
    otherwise: str | None = None,
    progress: Progress = no_progress,
) -> PixelSet:
    """Decode every image to uint8 [N, channels, size, size] (see `Preprocessing.prominent_square`).

    A file that is damaged, or in which nothing is found, is skipped and listed. Decoding uses one thread per core,
    which does not affect the result.

    Args:
        otherwise: another finder for images in which ``finder`` finds nothing, such as "center"; None: skip them.

    Raises:
        DataError: more than 5 % are damaged (with a finder: half cannot be used), or a class has no image left (with a
            finder it is left out).
    """
    shape = Preprocessing(size, channels, (0.0,) * channels, (1.0,) * channels, crop, interpolation, finder)
    pixels = np.empty((len(images), shape.channels, shape.size, shape.size), dtype=np.uint8)
    second = None if otherwise is None else replace(shape, finder=otherwise)
    failures: dict[int, str] = {}
    unfound: list[int] = []

    def decode_image(index: int) -> None:
        try:
            picture = images.pixels(index, shape.shortest)
            try:
                pixels[index] = shape.prominent_square(picture)
            except NothingFoundError:
                if second is None:
                    raise
                pixels[index] = second.prominent_square(picture)
                unfound.append(index)
        except DataError as error:
            failures[index] = str(error)

    indices = progress(range(len(images)), len(images), "decoding")
    if isinstance(images.items, ArrayItems):
        for index in indices:
            decode_image(index)
    else:
        with ThreadPoolExecutor(available_cores()) as pool:
            for _ in zip(indices, pool.map(decode_image, range(len(images))), strict=False):
                pass
    damage = DamageLog(images, failures, finds=shape.finds, may_lose_classes=shape.finds)
    kept = np.setdiff1d(np.arange(len(images)), np.fromiter(failures, dtype=np.intp))
    loaded = PixelSet(
        source=images.source,
        pixels=_keep_rows(pixels, kept),
        labels=images.labels[kept],
        classes=images.classes,
        splits=images.splits[kept] if images.splits is not None else None,
        names=tuple(images.items.name(int(index)) for index in kept),
        failed=damage.sorted,
        groups=images.groups[kept] if images.groups is not None else None,
        unfound=tuple(images.items.name(index) for index in sorted(unfound)),
    )
    return replace(subset(loaded, np.arange(len(loaded))), lost=damage.empty) if damage.empty else loaded


def stream_pixels(images: ImageSet, shape: Preprocessing, workers: int) -> PixelSet:
    """Return the images of a set without decoding any: ``workers`` processes read them when they are needed."""
    pixels = StreamedPixels(ReadingPool(images, shape, workers), np.arange(len(images)))
    names = StreamedNames(pixels)
    return PixelSet(images.source, pixels, images.labels, images.classes, images.splits, names, (), images.groups)


def load_for(
    images: ImageSet,
    shape: Preprocessing,
    progress: Progress = no_progress,
    settings: ReadingSettings | None = None,
    otherwise: str | None = None,
) -> tuple[PixelSet, ReadingPlan]:
    """Decode ``images`` at once or make them ready to be read, as `reading_plan` decides.

    For a finder ``otherwise`` (`load_pixels`) they are always decoded at once.
    """
    plan = reading_plan(images, shape, settings)
    if plan.streams and otherwise is None:
        return stream_pixels(images, shape, plan.workers), plan
    decoded = load_pixels(
        images,
        size=shape.size,
        channels=shape.channels,
        crop=shape.crop,
        interpolation=shape.interpolation,
        finder=shape.finder,
        otherwise=otherwise,
        progress=progress,
    )
    return decoded, plan


def _keep_rows(pixels: NDArray[np.uint8], rows: Indices) -> NDArray[np.uint8]:
    """Move ``rows`` (ascending) of ``pixels`` to the front, in place, and return them."""
    for target, row in enumerate(rows.tolist()):
        if target != row:
            pixels[target] = pixels[row]
    return pixels[: len(rows)]


def subset(images: PixelSet, chosen: Indices) -> PixelSet:
    """Return the images ``chosen`` with only the classes that they contain, in the original order."""
    result = images.at(chosen)
    codes, labels = np.unique(result.labels, return_inverse=True)
    return replace(result, labels=labels.astype(np.int64), classes=tuple(images.classes[code] for code in codes))


TURNS = ("", " ↶90°", " ↶180°", " ↶270°")
"""Suffixes of the names of rotated classes and images."""


def with_quarter_turns(images: PixelSet) -> PixelSet:
    """Return ``images`` rotated by 0, 90, 180 and 270 degrees; each rotation of a class is a separate class.

    For symbols and drawings: four times the classes to learn from (Santoro et al. 2016).
    """
    count = len(images.classes)
    pixels = images.pixels
    if isinstance(pixels, StreamedPixels):
        turns = np.repeat(np.arange(len(TURNS), dtype=np.int8), len(images))
        rotated: NDArray[np.uint8] | StreamedPixels = StreamedPixels(
            pixels.pool, np.tile(pixels.rows, len(TURNS)), turns
        )
    else:
        rotated = np.concatenate([np.rot90(pixels, turns, axes=(2, 3)) for turns in range(len(TURNS))])
    return replace(
        images,
        pixels=rotated,
        labels=np.concatenate([images.labels + turns * count for turns in range(len(TURNS))]),
        classes=tuple(f"{name}{suffix}" for suffix in TURNS for name in images.classes),
        splits=None if images.splits is None else np.tile(images.splits, len(TURNS)),
        groups=None if images.groups is None else np.tile(images.groups, len(TURNS)),
        names=StreamedNames(rotated)
        if isinstance(rotated, StreamedPixels)
        else tuple(f"{name}{suffix}" for suffix in TURNS for name in images.names),
    )


def with_known_first(images: PixelSet, known: tuple[str, ...]) -> PixelSet:
    """Return ``images`` with the class names ``known`` first, then its other classes; renumber the labels."""
    classes = known + tuple(name for name in images.classes if name not in set(known))
    label_of = {name: number for number, name in enumerate(classes)}
    codes = np.array([label_of[name] for name in images.classes], dtype=np.int64)
    return replace(images, labels=codes[images.labels], classes=classes)


def joined(first: PixelSet, second: PixelSet) -> PixelSet:
    """Return the images of both sets, without splits and groups; class names of the second get a trailing star.

    Raises:
        UsageError: one set is decoded and the other is not.
    """
    a, b = first.pixels, second.pixels
    source = f"{first.source} and {second.source}"
    labels = np.concatenate([first.labels, second.labels + len(first.classes)])
    classes = (*first.classes, *(f"{name}*" for name in second.classes))
    if isinstance(a, StreamedPixels) and isinstance(b, StreamedPixels):
        items = JoinedItems((a.pool.images.items, b.pool.images.items))
        of_all = np.concatenate([a.pool.images.labels, b.pool.images.labels + len(a.pool.images.classes)])
        names = (*a.pool.images.classes, *(f"{name}*" for name in b.pool.images.classes))
        pool = ReadingPool(ImageSet(source, items, of_all, names), a.pool.shape, max(a.pool.workers, b.pool.workers))
        both = StreamedPixels(pool, np.concatenate([a.rows, b.rows + len(a.pool.images)]))
        return PixelSet(source, both, labels, classes, None, StreamedNames(both))
    if isinstance(a, StreamedPixels) or isinstance(b, StreamedPixels):
        raise UsageError(
            f"{source}: one is small enough to be decoded and the other is not. Set data.decoded_gib=0, so that both "
            "are read from their files."
        )
    pixels = np.concatenate([a, b])
    failed = (*first.skipped, *second.skipped)
    return PixelSet(source, pixels, labels, classes, None, (*first.names, *second.names), failed)
