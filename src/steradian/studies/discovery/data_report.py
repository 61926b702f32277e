"""Build the report of a data set, to check it before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from steradian import data
from steradian.data.images import ImageSet
from steradian.data.inspection import Inspection, inspect
from steradian.data.model_input import square
from steradian.data.pixels import Progress, no_progress
from steradian.errors import DataError
from steradian.files import check_folder, check_new, new_folder, write_text
from steradian.plots import ClassSizesDisplay, ExamplesDisplay, MistakesDisplay
from steradian.plots.report import Figure, Report, Section, facts
from steradian.plots.theme import Panel, short_name
from steradian.studies.discovery.near_copies import NearCopies
from steradian.studies.discovery.near_copies import near_copies as find_near_copies
from steradian.studies.discovery.view_sheet import write_view_sheet

SHOWN_CLASSES, SHOWN_PAIRS, SIZE = 32, 16, 96


@dataclass(frozen=True)
class DataInspection:
    """Result of inspecting a data set.

    Attributes:
        near: near copies, where they were asked for.
    """

    images: ImageSet
    inspection: Inspection
    near: NearCopies | None


def inspect_data(
    source: str,
    root: str | None = None,
    *,
    out: Path | None = None,
    views: Path | None = None,
    near_copies: str | None = None,
    skip_missing: bool = False,
    progress: Progress = no_progress,
) -> DataInspection:
    """Look at a data set before training, and write what was asked for.

    Args:
        out: folder of a report with pictures; None: no report.
        views: PNG of images beside the views that training makes of them; None: no picture.
        near_copies: "package" or a model folder whose embeddings find near copies; None: they are not looked for.
        skip_missing: leave out rows of a table that name files that do not exist.

    Raises:
        UsageError: ``out`` holds other files; no such model.
        DataError: the source cannot be read.
    """
    if views is not None:
        check_new(views)
    images = data.open(source, root, skip_missing=skip_missing)
    if out is not None:
        check_folder(out)
    if views is not None:
        write_view_sheet(source, root, views)
    inspection = inspect(images, progress)
    near = find_near_copies(images, near_copies, progress=progress) if near_copies is not None else None
    if out is not None:
        new_folder(out, exist_ok=True)
        write_text(out / "report.html", build_report(images, inspection, near).html())
    return DataInspection(images, inspection, near)


def facts_of(summary: Inspection) -> dict[str, str]:
    """Describe counts and sizes as text."""
    sizes = " / ".join(f"{height}x{width}" for height, width in (summary.smallest, summary.median, summary.largest))
    described = {
        "source": summary.source,
        "images": f"{summary.images:,} {'gray' if summary.gray else 'color'}",
        "size (smallest / median / largest)": sizes,
        "classes": f"{len(summary.classes)}",
    }
    if summary.per_split:
        described["splits"] = ", ".join(f"{name} {count:,}" for name, count in summary.per_split.items())
    return described


def build_report(images: ImageSet, summary: Inspection, near: NearCopies | None = None) -> Report:
    """Build the report: counts, an image of each class, class sizes, copies and near copies."""
    warnings = [*summary.warnings, *(near.sentences() if near is not None else ())] or ["No problems were detected."]
    sections = [
        Section("Overview", warnings, [facts(facts_of(summary))]),
        Section("Classes", [], _classes(images, summary)),
    ]
    if summary.copies:
        pairs = [(names[0], names[1]) for names in summary.copies[:SHOWN_PAIRS]]
        sections.append(Section("The same picture twice", [], _copies(images, pairs)))
    if near is not None:
        sections.append(Section("Nearly the same", [], _near(near)))
    name = PurePath(summary.source).name
    return Report(f"Images of {name}", f"{summary.images:,} images in {len(summary.classes)} classes", sections)


def _classes(images: ImageSet, summary: Inspection) -> list[Figure]:
    _, first = np.unique(images.labels, return_index=True)
    shown = first[np.linspace(0, len(first) - 1, min(SHOWN_CLASSES, len(first))).astype(int)]
    tiles = _tiles(images, shown.tolist())
    examples = ExamplesDisplay.from_images(
        np.stack(list(tiles.values())), [images.classes[images.labels[index]] for index in tiles]
    )
    sizes = ClassSizesDisplay.from_counts(summary.per_class)
    return [
        _figure(examples.plot, "An image of each class", 1.35 * examples.rows, "The first image of up to 32 classes."),
        _figure(
            sizes.plot, "Images of each class", 3.2, "For long tails, see training.class_power and data.min_images."
        ),
    ]


def _copies(images: ImageSet, pairs: Sequence[tuple[str, str]]) -> list[Figure]:
    index_of = {images.items.name(index): index for index in range(len(images))}
    tiles = _tiles(images, [index_of[name] for pair in pairs for name in pair])
    shown = [pair for pair in pairs if all(index_of[name] in tiles for name in pair)]
    left, right = (np.stack([tiles[index_of[pair[side]]] for pair in shown]) for side in (0, 1))
    lines = tuple((_short(a), _short(b)) for a, b in shown)
    display = MistakesDisplay(left, right, lines)
    return [_figure(display.plot, "Copies", 1.45 * display.rows, "Pairs of images with identical pixels.")]


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
    caption = "The nearest pairs by the cosine of their embeddings. Some show the same scene, others only look alike."
    return [_figure(display.plot, "Near copies", 1.45 * display.rows, caption)]


def _short(name: str) -> str:
    """Return folder and file name, shortened to the width of an image."""
    return short_name("/".join(PurePath(name).parts[-2:]), 22)


def _tiles(images: ImageSet, chosen: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """Return the images of ``chosen`` that can be decoded, uint8 [3, `SIZE`, `SIZE`]."""
    decoded: dict[int, NDArray[np.uint8]] = {}
    for index in chosen:
        try:
            decoded[index] = square(images.pixels(index), SIZE, 3)
        except DataError:
            continue
    return decoded


def _figure(panel: Panel, title: str, height: float, caption: str) -> Figure:
    return Figure.of({"": panel}, title, caption, width=8.8, height=height + 0.4)
