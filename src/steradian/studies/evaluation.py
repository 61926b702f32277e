"""Measure one trained model on held-out images."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian import data
from steradian.data.pixels import PixelSet, load_for, no_progress, with_known_first
from steradian.data.pixels import Progress as DataProgress
from steradian.errors import DataError, UsageError
from steradian.models.recognizer import Recognizer
from steradian.studies.measurement import Embedded, Measured, embed_pixels
from steradian.studies.protocols import DEFAULT, Material, check_protocols, left_out, measure
from steradian.training.prepared import Prepared, prepare
from steradian.training.recipe import read_recipe
from steradian.training.resources import environment


@dataclass(frozen=True)
class Images:
    """Images of an evaluation, with what the model says of them.

    Attributes:
        pixels: what they are among.
        chosen: [N], which of those they are.
        embedded: of the same images.
    """

    pixels: PixelSet
    chosen: NDArray[np.intp]
    embedded: Embedded


@dataclass(frozen=True)
class Evaluated:
    """Numbers of one model on one set of images.

    Attributes:
        classes: the names that labels stand for; first those that the model knows.
        known, unknown: images of classes that the model knows, and of others; None where there are none.
        reference: images that it was trained on, or None.
        part: which images were measured, in words.
        notes: what was left out or assumed, in words.
    """

    model: Recognizer
    measured: Measured
    classes: tuple[str, ...]
    known: Images | None
    unknown: Images | None
    reference: Images | None
    part: str
    notes: tuple[str, ...]
    provenance: dict[str, Any]


def evaluate(
    path: Path,
    source: str | None,
    root: str | None,
    command: str,
    progress: DataProgress = no_progress,
    protocols: Sequence[str] | None = None,
) -> Evaluated:
    """Measure the model in ``path``, a run or model folder.

    Args:
        source: images; None, or the run's own source, means the part of the run's data that was held out.
        protocols: names of `protocols.PROTOCOLS`; None: all that the images suffice for, but landmarks.

    Raises:
        UsageError: no ``source`` for a model folder without a recipe; unknown protocols, or none that can be measured.
        DataError: the run's data has changed since training.
    """
    check_protocols(protocols or ())
    model = Recognizer.load(path)
    recipe = read_recipe(path / "recipe.yaml") if (path / "recipe.yaml").is_file() else None
    if recipe is not None and source in (None, recipe.data.source):
        prepared = prepare(recipe if root is None else recipe.changed(**{"data.root": root}), progress)
        trained_on = model.card.provenance.get("data", {}).get("digest") if model.card is not None else None
        if trained_on != prepared.digest:
            raise DataError(
                f"{recipe.data.source} has changed since {path} was trained on it, so its held-out part is no longer "
                "known: images of it may have been trained on. Train again, or evaluate on a folder of new images."
            )
        return evaluate_run(model, prepared, command, protocols)
    if source is None:
        raise UsageError(f"{path} has no recipe.yaml, so name the DATA to measure on.")
    return evaluate_on(model, source, root, command, progress, protocols)


def evaluate_on(
    model: Recognizer,
    source: str,
    root: str | None,
    command: str,
    progress: DataProgress = no_progress,
    protocols: Sequence[str] | None = None,
) -> Evaluated:
    """Measure ``model`` on other data than it was trained on: its test part if it names one, else all of it.

    Classes that the model does not know are measured as unknown ones, or alone where there are no others.
    """
    pixels, part = pixels_for(model, source, root, progress)
    count = len(model.spec.classes)
    ours, others = np.flatnonzero(pixels.labels < count), np.flatnonzero(pixels.labels >= count)
    notes = []
    if len(others):
        strange = pixels.classes[count:]
        listed = ", ".join(repr(name) for name in strange[:5]) + (", …" if len(strange) > 5 else "")
        notes.append(
            f"The model does not know {len(strange)} of the classes ({listed}): their {len(others):,} images count as "
            "unknown."
        )
    known = _seen(model, pixels, ours) if len(ours) else None
    unknown = _seen(model, pixels, others) if len(others) else None
    origin = origin_of(model, pixels, part, pixels.digest(), command)
    return _evaluated(model, pixels.classes, (known, unknown, None), part, notes, origin, protocols)


def pixels_for(model: Recognizer, source: str, root: str | None, progress: DataProgress) -> tuple[PixelSet, str]:
    """The images of ``source`` as ``model`` takes them, labels by its classes; and which part they are, in words."""
    shape = model.spec.preprocessing
    found = load_for(data.open(source, root), shape, progress)
    pixels = with_known_first(found, model.spec.classes)
    if pixels.splits is not None and (pixels.splits == "test").any():
        return pixels.at(np.flatnonzero(pixels.splits == "test")), "the test part"
    return pixels, "all images"


def evaluate_run(
    model: Recognizer, prepared: Prepared, command: str, protocols: Sequence[str] | None = None
) -> Evaluated:
    """Measure ``model`` on the test part of the data it was trained on; neighbors come from the training part.

    Raises:
        DataError: the test part is empty.
    """
    splits, pixels, unseen = prepared.splits, prepared.pixels, prepared.unseen
    if len(splits.test) == 0:
        raise DataError("The test part is empty, so there is nothing to measure on. Name other data, or set data.test.")
    classes, unknown = pixels.classes, None
    if unseen is not None:
        others = with_known_first(unseen, pixels.classes)
        classes, unknown = others.classes, _seen(model, others, np.arange(len(others)))
    known, reference = _seen(model, pixels, splits.test), _seen(model, pixels, splits.train)
    origin = origin_of(model, pixels, "the test part", prepared.digest, command)
    return _evaluated(model, classes, (known, unknown, reference), "the test part", [], origin, protocols)


def _seen(model: Recognizer, pixels: PixelSet, chosen: NDArray[np.intp]) -> Images:
    model.accelerate_for(len(chosen))
    return Images(pixels, chosen, embed_pixels(model, pixels, chosen))


def origin_of(model: Recognizer, pixels: PixelSet, part: str, digest: str, command: str) -> dict[str, Any]:
    """Where the numbers of an evaluation come from."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "data": {"source": pixels.source, "part": part, "digest": digest, "skipped": len(pixels.skipped)},
        "model": model.card.id if model.card is not None else None,
        **environment(),
    }


def _evaluated(
    model: Recognizer,
    classes: tuple[str, ...],
    images: tuple[Images | None, Images | None, Images | None],
    part: str,
    notes: list[str],
    origin: dict[str, Any],
    protocols: Sequence[str] | None,
) -> Evaluated:
    known, unknown, reference = images
    seen, strange, trained = (None if found is None else found.embedded for found in images)
    material = Material(classes, len(model.spec.classes), seen, strange, trained)
    measured = measure(material, DEFAULT if protocols is None else protocols)
    missing = left_out(protocols, measured.numbers) if protocols is not None else []
    if protocols is not None and len(missing) == len(set(protocols)):
        raise UsageError(" ".join(missing))
    return Evaluated(model, measured, classes, known, unknown, reference, part, (*notes, *missing), origin)


PREDICTIONS = ("id", "label", "prediction", "score")


def predictions_csv(evaluated: Evaluated) -> str:
    """Every answer as ``id,label,prediction,score``: a table that ``evaluate --predictions`` takes.

    The score is the probability of the prediction. For an image of a class that the model does not know, the
    prediction is wrong whatever it is.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(PREDICTIONS)
    for images in (evaluated.known, evaluated.unknown):
        if images is None:
            continue
        answers = images.embedded.answers
        rows = zip(
            [images.pixels.names[index] for index in images.chosen],
            images.embedded.labels.tolist(),
            answers.predictions.tolist(),
            answers.probability.tolist(),
            strict=True,
        )
        for name, label, predicted, score in rows:
            table.writerow([name, evaluated.classes[label], evaluated.classes[predicted], f"{score:.6g}"])
    return text.getvalue()
