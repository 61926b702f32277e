"""Measure one trained model on held-out images, with its page."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steradian import data
from steradian.data.pixels import PixelSet, load_pixels, no_progress, with_labels_of
from steradian.data.pixels import Progress as DataProgress
from steradian.errors import DataError, UsageError
from steradian.files import write_json, write_text
from steradian.models.heads import class_centers
from steradian.models.recognizer import Recognizer
from steradian.plots import AnglesDisplay, ConfusionDisplay, EmbeddingDisplay, HistoryDisplay, SphereDisplay
from steradian.plots.report import Block, Cell, Figure, Report, Section, Spheres, Table, facts
from steradian.plots.theme import Theme, small_multiples
from steradian.studies.measurement import Embedded, Measured, embed_pixels, flat, measure
from steradian.training.recipe import read_recipe
from steradian.training.resources import environment
from steradian.training.run import Prepared, prepare

Panel = Callable[[Axes, Theme], object]

WORDS = {
    "images": ("test images", "{:,.0f}"),
    "closed.accuracy": ("accuracy", "{:.4f}"),
    "closed.top_5": ("top-5 accuracy", "{:.4f}"),
    "neighbors.knn_accuracy": ("5-nearest-neighbor accuracy", "{:.4f}"),
    "clustering.majority": ("k-means accuracy, majority vote", "{:.4f}"),
    "clustering.one_to_one": ("k-means accuracy, one to one", "{:.4f}"),
    "clustering.silhouette": ("silhouette on the sphere", "{:.3f}"),
    "verification.auc": ("verification: area under the ROC", "{:.4f}"),
    "verification.eer": ("verification: equal error rate", "{:.4f}"),
    "verification.tar_at_far.1e-02": ("verification: TAR at FAR 1e-2", "{:.4f}"),
    "verification.tar_at_far.1e-03": ("verification: TAR at FAR 1e-3", "{:.4f}"),
    "geometry.own_angle_degrees": ("angle to own class, median (°)", "{:.1f}"),
    "geometry.nearest_other_angle_degrees": ("angle to nearest other class, median (°)", "{:.1f}"),
    "geometry.smallest_angle_between_classes_degrees": ("closest two classes (°)", "{:.1f}"),
    "geometry.hull_ratio": ("summed hull ratio", "{:.3f}"),
    "geometry.ellipsoid_ratio": ("summed 95 % ellipsoid ratio", "{:.3f}"),
}
"""Dotted key -> (words, format)."""


@dataclass(frozen=True)
class Evaluated:
    """Numbers of one model on one set of images.

    Attributes:
        part: which images were measured, in words.
    """

    model: Recognizer
    measured: Measured
    test: Embedded
    part: str
    provenance: dict[str, Any]


def evaluate(
    path: Path, source: str | None, root: str | None, command: str, progress: DataProgress = no_progress
) -> Evaluated:
    """Measure the model in ``path``, a run or model folder.

    Args:
        source: images; None, or the run's own source, means the part of the run's data that was held out.

    Raises:
        UsageError: no ``source`` for a model folder without a recipe.
        DataError: the run's data has changed since training; classes that the model does not know.
    """
    model = Recognizer.load(path)
    recipe = read_recipe(path / "recipe.yaml") if (path / "recipe.yaml").is_file() else None
    if recipe is not None and source in (None, recipe.data.source):
        settings = recipe.data if root is None else recipe.data.model_copy(update={"root": root})
        prepared = prepare(settings, progress)
        trained_on = model.card.provenance.get("data", {}).get("digest") if model.card is not None else None
        if trained_on != prepared.digest:
            raise DataError(
                f"{recipe.data.source} has changed since {path} was trained on it, so its held-out part is no longer "
                "known: images of it may have been trained on. Train again, or evaluate on a folder of new images."
            )
        return evaluate_run(model, prepared, command)
    if source is None:
        raise UsageError(f"{path} has no recipe.yaml, so name the DATA to measure on.")
    return evaluate_on(model, source, root, command, progress)


def evaluate_on(
    model: Recognizer, source: str, root: str | None, command: str, progress: DataProgress = no_progress
) -> Evaluated:
    """Measure ``model`` on other data than it was trained on: its test part if it names one, else all of it.

    Raises:
        DataError: classes that the model does not know.
    """
    preprocessing = model.spec.preprocessing
    found = load_pixels(
        data.open(source, root), size=preprocessing.size, channels=preprocessing.channels, progress=progress
    )
    pixels = with_labels_of(found, model.spec.classes)
    chosen, part = np.arange(len(pixels)), "all images"
    if pixels.splits is not None and (pixels.splits == "test").any():
        chosen, part = np.flatnonzero(pixels.splits == "test"), "the test part"
    return _evaluated(model, pixels, chosen, None, part, pixels.digest(), command)


def evaluate_run(model: Recognizer, prepared: Prepared, command: str) -> Evaluated:
    """Measure ``model`` on the test part of the data it was trained on; neighbors come from the training part.

    Raises:
        DataError: the test part is empty.
    """
    splits = prepared.splits
    if len(splits.test) == 0:
        raise DataError("The test part is empty, so there is nothing to measure on. Name other data, or set data.test.")
    pixels = prepared.pixels
    reference = embed_pixels(model, pixels.pixels[splits.train], pixels.labels[splits.train])
    return _evaluated(model, pixels, splits.test, reference, "the test part", prepared.digest, command)


def _evaluated(
    model: Recognizer,
    pixels: PixelSet,
    chosen: NDArray[np.intp],
    reference: Embedded | None,
    part: str,
    digest: str,
    command: str,
) -> Evaluated:
    test = embed_pixels(model, pixels.pixels[chosen], pixels.labels[chosen])
    origin = {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "data": {"source": pixels.source, "part": part, "digest": digest, "skipped": len(pixels.skipped)},
        "model": model.card.id if model.card is not None else None,
        **environment(),
    }
    return Evaluated(model, measure(test, reference, len(pixels.classes)), test, part, origin)


def write_evaluation(evaluated: Evaluated, out: Path, history: list[dict[str, Any]] | None = None) -> None:
    """``report.html`` and then ``metrics.json`` in ``out``: where the second is, everything is."""
    write_text(out / "report.html", build_report(evaluated, history).html())
    write_json(out / "metrics.json", {**evaluated.measured.numbers, "provenance": evaluated.provenance})


def build_report(evaluated: Evaluated, history: list[dict[str, Any]] | None = None) -> Report:
    """The page of one model."""
    spec, origin = evaluated.model.spec, evaluated.provenance
    sections = [Section("Numbers", [], [_numbers(evaluated)]), Section("Pictures", [], _pictures(evaluated))]
    if history:
        panels: dict[str, Panel] = {
            value.replace("_", " "): HistoryDisplay.from_histories({spec.loss: [history]}, value).plot
            for value in ("train_loss", "validation_accuracy")
        }
        figure = Figure(small_multiples(panels, "Training curves", columns=2, width=4.5, height=3.2), "By epoch.")
        sections.append(Section("Training", [], [figure]))
    record = {
        "command": origin["command"],
        "date": origin["date"],
        "data": f"{origin['data']['source']}, {evaluated.part}, sha256 {origin['data']['digest'][:16]}…",
        "skipped files": origin["data"]["skipped"],
        "model": origin["model"],
        "encoder": spec.encoder,
        "loss": f"{spec.loss} {spec.loss_options}",
        "versions": f"steradian {origin['steradian']}, torch {origin['torch']}, Python {origin['python']}",
    }
    sections.append(Section("How it was made", [], [facts(record)]))
    subtitle = (
        f"{spec.loss}, {spec.embedding_size} dimensions, {len(spec.classes)} classes, measured on {evaluated.part}"
    )
    return Report(f"Evaluation on {origin['data']['source'].rstrip('/').rsplit('/', 1)[-1]}", subtitle, sections)


def numbers_in_words(evaluated: Evaluated) -> list[tuple[str, str]]:
    """(words, formatted value) of every number that could be measured."""
    found = dict(flat(evaluated.measured.numbers))
    return [
        (words, form.format(found[key]))
        for key, (words, form) in WORDS.items()
        if key in found and found[key] == found[key]
    ]


def _numbers(evaluated: Evaluated) -> Table:
    return Table(("", ""), [(Cell(words), Cell(value)) for words, value in numbers_in_words(evaluated)])


def _pictures(evaluated: Evaluated) -> list[Block]:
    test, spec = evaluated.test, evaluated.model.spec
    centers = class_centers(evaluated.model.head).cpu().numpy()
    blocks: list[Block] = []
    if spec.embedding_size == 2:
        flat_display = EmbeddingDisplay.from_embeddings(test.raw, test.labels, spec.classes, centers)
        panels: dict[str, Panel] = {"embedding": flat_display.plot, "directions": flat_display.plot_circle}
        words = "2-D embedding, raw and on the unit circle"
        blocks.append(Figure(small_multiples(panels, words, columns=2, width=4.5), "Rays are class centers."))
    if spec.embedding_size == 3:
        sphere = SphereDisplay.from_embeddings(test.raw, test.labels, spec.classes, centers)
        words = "3-D embedding on the unit sphere"
        blocks.append(Figure(small_multiples({"": sphere.plot}, words, width=7.0, height=3.8), "Both halves."))
        blocks.append(Spheres("sphere", {spec.loss: sphere}, "Drag to turn, scroll to come closer."))
    if len(np.unique(test.labels)) > 1:
        angles = AnglesDisplay.from_embeddings(test.raw, test.labels)
        panels = {"angles": angles.plot, "own against nearest other": angles.plot_own_against_nearest}
        words = "Angles to own and nearest other class"
        blocks.append(
            Figure(small_multiples(panels, words, columns=2, width=4.5, height=3.4), "Of test images, in degrees.")
        )
    confusion = ConfusionDisplay.from_predictions(test.labels, test.predictions, spec.classes)
    caption = "Rows are true classes, columns predictions."
    blocks.append(Figure(small_multiples({"confusion": confusion.plot}, "Confusion matrix", width=5.6), caption))
    return blocks
