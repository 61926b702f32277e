"""Measure one trained model on held-out images."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steradian import data as data_sources
from steradian.data.loading.damage import lost_classes_warning, skipped_warning
from steradian.data.pixels import PixelSet, load_for, no_progress, with_known_first
from steradian.data.pixels import Progress as DataProgress
from steradian.data.sources import source_name
from steradian.errors import DataError, UsageError
from steradian.invocation import command_line
from steradian.models.encoders import OWN
from steradian.models.recognizer import Recognizer
from steradian.notebook import facts_html
from steradian.studies.evaluation.adapted import adaptation_numbers, new_classes_sentence
from steradian.studies.evaluation.inputs import EvaluationInputs, Metrics, embed_pixels, run_inputs
from steradian.studies.evaluation.promises import promise_numbers
from steradian.studies.evaluation.protocols import DEFAULT, check_protocols, left_out, measure
from steradian.studies.evaluation.verdict import Verdict, verdict_of
from steradian.studies.fine_tuning import FineTuning
from steradian.training.adaptation.adapt import Adaptation
from steradian.training.adapted import EncoderFeatures
from steradian.training.dataset import TrainingData, load_data
from steradian.training.resources import environment
from steradian.training.run_folder import RunFolder


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """Metrics of one model on one set of images.

    Attributes:
        metrics: numbers by protocol.
        inputs: the embeddings that they are functions of.
        part: description of the measured images.
        notes: sentences on what was left out or assumed.
        provenance: command, date, data, model, versions.
        folder: where report and metrics were written; None where they were not.
    """

    model: Recognizer
    metrics: Metrics
    inputs: EvaluationInputs
    part: str
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    folder: Path | None = None

    @property
    def report(self) -> Path | None:
        """The report, an HTML file."""
        return self.folder / "report.html" if self.folder is not None else None

    def __repr__(self) -> str:
        return f"EvaluationResult({self.part} of {self.provenance['data']['source']!r}: {self.verdict.sentence})"

    def _repr_html_(self) -> str:
        verdict = self.verdict
        rows = {label: f"{share}: {interval}" for label, share, interval in (one.row() for one in verdict.headlines)}
        return facts_html(verdict.sentence, rows)

    @property
    def verdict(self) -> Verdict:
        """A sentence and percentages with their intervals."""
        return verdict_of(self.metrics.numbers)


def with_adaptation(
    evaluated: EvaluationResult, adaptation: Adaptation | None, tuning: FineTuning | None = None
) -> EvaluationResult:
    """Add what the training compared, and a sentence on classes that the model was not trained on."""
    added = adaptation_numbers(adaptation) if adaptation is not None else {}
    if tuning is not None:
        added |= {"fine_tuning": asdict(tuning)}
        evaluated = replace(evaluated, notes=(*evaluated.notes, tuning.verdict))
    measured = replace(evaluated.metrics, numbers={**evaluated.metrics.numbers, **added})
    if evaluated.inputs.unknown is not None:
        return replace(evaluated, metrics=measured)
    pretrained = evaluated.model.spec.encoder not in OWN
    sentence = new_classes_sentence(measured.numbers, pretrained)
    return replace(evaluated, metrics=measured, notes=(*evaluated.notes, sentence))


def measure_model(
    model: Recognizer | str | Path,
    source: str | Path | None = None,
    *,
    root: str | None = None,
    protocols: Sequence[str] | None = None,
    progress: DataProgress = no_progress,
) -> EvaluationResult:
    """Measure a model.

    Args:
        model: a recognizer, or where `Recognizer.load` finds one.
        source: images; None, or the run's own source, is the part of the run's data that was held out.
        protocols: names of `protocols.PROTOCOLS`; None: all that the images suffice for, except landmarks.

    Raises:
        UsageError: no ``source`` for a model folder without a recipe; unknown protocols, or none that can be measured.
        DataError: the run's data has changed since training.
    """
    check_protocols(protocols or ())
    recipe = None if isinstance(model, Recognizer) else RunFolder(Path(model)).read_recipe()
    recognizer = model if isinstance(model, Recognizer) else Recognizer.load(model)
    source = None if source is None else source_name(source)
    if recipe is not None and source in (None, recipe.data.source):
        data = load_data(recipe if root is None else recipe.changed(**{"data.root": root}), progress)
        provenance = recognizer.manifest.provenance if recognizer.manifest is not None else {}
        if provenance.get("data", {}).get("digest") != data.digest:
            raise DataError(
                f"{recipe.data.source} has changed since {model} was trained on it, so its held-out part is no longer "
                "known and may contain training images. Train again, or evaluate on a folder of new images."
            )
        return evaluate_run(recognizer, data, protocols, progress=progress)
    if source is None:
        raise UsageError(f"{model} has no recipe.yaml, so its held-out data is unknown. Name the DATA to measure on.")
    return evaluate_on(recognizer, source, root, progress, protocols)


def evaluate_on(
    model: Recognizer,
    source: str,
    root: str | None = None,
    progress: DataProgress = no_progress,
    protocols: Sequence[str] | None = None,
) -> EvaluationResult:
    """Measure ``model`` on new data: on the test part if the data defines one, else on all of it.

    Images of classes that the model does not know count as unknown; if there are no others, they are measured alone.
    """
    pixels, part, notes = pixels_for(model, source, root, progress)
    count = len(model.spec.classes)
    known_images, unknown_images = np.flatnonzero(pixels.labels < count), np.flatnonzero(pixels.labels >= count)
    if len(unknown_images):
        unknown_names = pixels.classes[count:]
        listed = ", ".join(repr(name) for name in unknown_names[:5]) + (", …" if len(unknown_names) > 5 else "")
        notes.append(
            f"The model does not know {len(unknown_names)} of the classes ({listed}): their "
            f"{len(unknown_images):,} images count as unknown."
        )
    known = unknown = None
    model.accelerate_for(len(pixels))
    if len(known_images):
        known = embed_pixels(model, pixels, known_images, progress=progress)
    if len(unknown_images):
        unknown = embed_pixels(model, pixels, unknown_images, progress=progress)
    inputs = EvaluationInputs(pixels.classes, count, known, unknown)
    return _measured(model, inputs, part, notes, origin_of(model, pixels, part, pixels.digest()), protocols)


def pixels_for(
    model: Recognizer, source: str, root: str | None, progress: DataProgress, otherwise: str | None = None
) -> tuple[PixelSet, str, list[str]]:
    """Return the images of ``source`` as ``model`` takes them, labels by its classes.

    Then which part they are, and sentences about what was left out. With ``otherwise``, images in which the model's
    finder finds nothing are cut out by that finder.
    """
    images = data_sources.open(source, root)
    loaded, _ = load_for(images, model.spec.preprocessing, progress, otherwise=otherwise)
    notes = [*images.notes, *skipped_warning(loaded.failed, len(images)), *lost_classes_warning(loaded.lost)]
    pixels = with_known_first(loaded, model.spec.classes)
    if pixels.splits is not None and (pixels.splits == "test").any():
        return pixels.at(np.flatnonzero(pixels.splits == "test")), "the test part", notes
    return pixels, "all images", notes


def evaluate_run(
    model: Recognizer,
    data: TrainingData,
    protocols: Sequence[str] | None = None,
    features: EncoderFeatures | None = None,
    progress: DataProgress = no_progress,
) -> EvaluationResult:
    """Measure ``model`` on the test part of the data it was trained on; neighbors come from the training part.

    ``features`` of its encoder for these images save the time to compute them.

    Raises:
        DataError: the test part is empty.
    """
    if len(data.splits.test) == 0:
        raise DataError("The test part is empty, so there is nothing to measure on. Name other data, or set data.test.")
    origin = origin_of(model, data.pixels, "the test part", data.digest)
    return _measured(model, run_inputs(model, data, features, progress), "the test part", [], origin, protocols)


def origin_of(model: Recognizer, pixels: PixelSet, part: str, digest: str) -> dict[str, Any]:
    """Return where the numbers of an evaluation come from."""
    return {
        "command": command_line(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "data": {"source": pixels.source, "part": part, "digest": digest, "skipped": len(pixels.skipped)},
        "model": model.manifest.id if model.manifest is not None else None,
        **environment(),
    }


def _measured(
    model: Recognizer,
    inputs: EvaluationInputs,
    part: str,
    notes: list[str],
    origin: dict[str, Any],
    protocols: Sequence[str] | None,
) -> EvaluationResult:
    metrics = measure(inputs, DEFAULT if protocols is None else protocols)
    if protocols is None and (promises := promise_numbers(model, inputs)):
        metrics = replace(metrics, numbers={**metrics.numbers, "promises": promises})
    missing = left_out(protocols, metrics.numbers) if protocols is not None else []
    if protocols is not None and len(missing) == len(set(protocols)):
        raise UsageError(" ".join(missing))
    if len(inputs.images) and np.bincount(inputs.images.labels).max() == 1:
        notes = [*notes, ONE_OF_EACH]
    return EvaluationResult(model, metrics, inputs, part, (*notes, *missing), origin)


ONE_OF_EACH = (
    "No class has two images in this part, so numbers that compare images of one class are left out: silhouette, angle "
    "to the own class, verification, retrieval."
)

PREDICTIONS = ("id", "label", "prediction", "score")


def predictions_csv(evaluated: EvaluationResult) -> str:
    """Return all predictions as CSV ``id,label,prediction,score``, as ``evaluate --predictions`` takes it.

    The score is the probability of the prediction. For an image of a class that the model does not know, the
    prediction is always wrong.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(PREDICTIONS)
    classes = evaluated.inputs.classes
    for images in (evaluated.inputs.known, evaluated.inputs.unknown):
        if images is None:
            continue
        columns = (images.labels.tolist(), images.predictions.tolist(), images.outputs.probability.tolist())
        for name, label, predicted, score in zip(images.names, *columns, strict=True):
            table.writerow([name, classes[label], classes[predicted], f"{score:.6g}"])
    return text.getvalue()
