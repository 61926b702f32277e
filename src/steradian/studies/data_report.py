"""The page of a data set, for a look before the first epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import ImageSet
from steradian.data.inspection import Inspection
from steradian.data.preprocessing import square
from steradian.errors import DataError
from steradian.plots import ClassSizesDisplay, ExamplesDisplay, MistakesDisplay
from steradian.plots.report import Figure, Report, Section, facts
from steradian.plots.theme import Panel, short_name, small_multiples
from steradian.studies.near_copies import NearCopies

SHOWN_CLASSES, SHOWN_PAIRS, SIZE = 32, 16, 96


def facts_of(found: Inspection) -> dict[str, str]:
    """Counts and sizes, in words."""
    sizes = " / ".join(f"{height}x{width}" for height, width in (found.smallest, found.median, found.largest))
    told = {
        "source": found.source,
        "images": f"{found.images:,} {'gray' if found.gray else 'color'}",
        "size (smallest / median / largest)": sizes,
        "classes": f"{len(found.classes)}",
    }
    if found.per_split:
        told["splits"] = ", ".join(f"{name} {count:,}" for name, count in found.per_split.items())
    return told


def build_report(images: ImageSet, found: Inspection, near: NearCopies | None = None) -> Report:
    """Counts, an image of each class, class sizes, copies and near copies."""
    warnings = [*found.warnings, *(near.sentences() if near is not None else ())] or ["Nothing stands out."]
    sections = [
        Section("What is there", warnings, [facts(facts_of(found))]),
        Section("Classes", [], _classes(images, found)),
    ]
    if found.copies:
        pairs = [(names[0], names[1]) for names in found.copies[:SHOWN_PAIRS]]
        sections.append(Section("The same picture twice", [], _copies(images, pairs)))
    if near is not None:
        sections.append(Section("Nearly the same", [], _near(near)))
    name = PurePath(found.source).name
    return Report(f"Images of {name}", f"{found.images:,} images in {len(found.classes)} classes", sections)


def _classes(images: ImageSet, found: Inspection) -> list[Figure]:
    _, first = np.unique(images.labels, return_index=True)
    shown = first[np.linspace(0, len(first) - 1, min(SHOWN_CLASSES, len(first))).astype(int)]
    squares = _squares(images, shown.tolist())
    examples = ExamplesDisplay.from_images(
        np.stack(list(squares.values())), [images.classes[images.labels[index]] for index in squares]
    )
    sizes = ClassSizesDisplay.from_counts(found.per_class)
    return [
        _figure(examples.plot, "An image of each class", 1.35 * examples.rows, "The first image of up to 32 classes."),
        _figure(sizes.plot, "Images of each class", 3.2, "Long tails: see training.class_power and data.min_images."),
    ]


def _copies(images: ImageSet, pairs: Sequence[tuple[str, str]]) -> list[Figure]:
    places = {images.items.name(index): index for index in range(len(images))}
    squares = _squares(images, [places[name] for pair in pairs for name in pair])
    kept = [pair for pair in pairs if all(places[name] in squares for name in pair)]
    left, right = (np.stack([squares[places[pair[side]]] for pair in kept]) for side in (0, 1))
    lines = tuple((_short(a), _short(b)) for a, b in kept)
    display = MistakesDisplay(left, right, lines)
    return [_figure(display.plot, "Copies", 1.45 * display.rows, "Pairs of images with the very same pixels.")]


def _near(near: NearCopies) -> list[Figure]:
    if len(near) == 0:
        return []
    first, second = near.first[:SHOWN_PAIRS], near.second[:SHOWN_PAIRS]
    names = near.pixels.names
    lines = tuple(
        (_short(names[a]), f"{_short(names[b])} ({cosine:.3f})")
        for a, b, cosine in zip(first.tolist(), second.tolist(), near.cosine.tolist(), strict=False)
    )
    display = MistakesDisplay(near.pixels.pixels[first], near.pixels.pixels[second], lines)
    words = "The nearest pairs by the cosine of their embeddings. Look: some are the same scene, others only alike."
    return [_figure(display.plot, "Near copies", 1.45 * display.rows, words)]


def _short(name: str) -> str:
    """Folder and file, no longer than a picture is wide."""
    return short_name("/".join(PurePath(name).parts[-2:]), 22)


def _squares(images: ImageSet, chosen: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """Those of ``chosen`` that can be decoded, uint8 [3, `SIZE`, `SIZE`]."""
    found: dict[int, NDArray[np.uint8]] = {}
    for index in chosen:
        try:
            found[index] = square(images.items.pixels(index), SIZE, 3)
        except DataError:
            continue
    return found


def _figure(panel: Panel, title: str, height: float, caption: str) -> Figure:
    return Figure(small_multiples({"": panel}, title, columns=1, width=8.8, height=height + 0.4), caption)
