"""Build the report of one model's evaluation."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from steradian import metrics
from steradian.data.images import ImageSet
from steradian.data.sources import source_name
from steradian.errors import UsageError
from steradian.files import check_folder, new_folder, read_json, write_text
from steradian.models.locations import is_name, model_folder
from steradian.models.recognizer import Recognizer
from steradian.percentages import percent
from steradian.plots import AnglesDisplay, EmbeddingDisplay, HistoryDisplay, SphereDisplay
from steradian.plots.report import Block, Figure, Report, Section, Share, Shares, Spheres, facts
from steradian.plots.theme import Panel
from steradian.plots.tiles import MOST_EXAMPLES, Tile, Tiles, examples
from steradian.studies.evaluation.adapted import adaptation_sections
from steradian.studies.evaluation.closed_set import (
    classes_table,
    confused_table,
    confusion_picture,
    curves_picture,
    reliability_panel,
)
from steradian.studies.evaluation.glossary import meanings, numbers_table
from steradian.studies.evaluation.inputs import EmbeddingSet, flat
from steradian.studies.evaluation.promises import promise_section
from steradian.studies.evaluation.recalibration import recalibrate as recalibrated
from steradian.studies.evaluation.run import EvaluationResult, measure_model, predictions_csv
from steradian.studies.evaluation.verdict import verdict_of
from steradian.studies.evaluation.verification import rates_picture
from steradian.studies.study_folder import default_folder
from steradian.training.progress import progress_unless
from steradian.training.run_folder import RunFolder
from steradian.waiting import waiting

HEADLINES = {
    "images": ("test images", "{:,.0f}"),
    "closed.accuracy": ("accuracy", "{:.4f}"),
    "closed.top_5": ("top-5 accuracy", "{:.4f}"),
    "calibration.ece": ("calibration error", "{:.4f}"),
    "neighbors.knn_accuracy": ("5-nearest-neighbor accuracy", "{:.4f}"),
    "clustering.majority": ("k-means accuracy, majority vote", "{:.4f}"),
    "clustering.silhouette": ("silhouette on the sphere", "{:.3f}"),
    "verification.auc": ("verification: area under the ROC", "{:.4f}"),
    "verification.eer": ("verification: equal error rate", "{:.4f}"),
    "verification.tar_at_far.1e-02": ("verification: TAR at FAR 1e-2", "{:.4f}"),
    "verification.tar_at_far.1e-03": ("verification: TAR at FAR 1e-3", "{:.4f}"),
    "identification.rank.1": ("identification: rank 1", "{:.4f}"),
    "identification.detection_at_false_alarms.1e-02": ("identification: DIR at FAR 1e-2", "{:.4f}"),
    "retrieval.recall_at_1": ("recall at 1", "{:.4f}"),
    "retrieval.map_at_r": ("MAP@R", "{:.4f}"),
    "open_set.cosine.auroc": ("known or unknown: AUROC", "{:.4f}"),
    "landmarks.gap": ("GAP", "{:.4f}"),
    "new_classes.model.recall_at_1": ("new classes: recall at 1", "{:.4f}"),
    "new_classes.untrained.recall_at_1": ("new classes: recall at 1, untrained encoder", "{:.4f}"),
    "new_classes.model.tar": ("new classes: TAR at FAR 1e-2", "{:.4f}"),
    "new_classes.untrained.tar": ("new classes: TAR at FAR 1e-2, untrained encoder", "{:.4f}"),
    "unseen.verification.eer": ("unseen classes: equal error rate", "{:.4f}"),
    "unseen.verification.tar_at_far.1e-03": ("unseen classes: TAR at FAR 1e-3", "{:.4f}"),
    "unseen.retrieval.recall_at_1": ("unseen classes: recall at 1", "{:.4f}"),
    "geometry.own_angle_degrees": ("angle to own class, median (°)", "{:.1f}"),
    "geometry.nearest_other_angle_degrees": ("angle to nearest other class, median (°)", "{:.1f}"),
    "geometry.smallest_angle_between_classes_degrees": ("smallest angle between classes (°)", "{:.1f}"),
    "geometry.hull_ratio": ("hull volume ratio", "{:.3f}"),
    "geometry.ellipsoid_ratio": ("95 % ellipsoid ratio", "{:.3f}"),
}
"""Headline metrics: key -> (label, format)."""

WORST = 12
"""Number of mistakes shown as images."""

DRAWN_POINTS = 4000


def evaluate(
    model: Recognizer | str | os.PathLike[str],
    source: str | Path | ImageSet | None = None,
    *,
    out: str | Path | None = None,
    root: str | None = None,
    protocols: Sequence[str] | None = None,
    recalibrate: bool = False,
    exist_ok: bool = False,
    quiet: bool = False,
) -> EvaluationResult:
    """Measure a model and write predictions, report and metrics.

    >>> st.evaluate("runs/photos", "new-photos/").metrics.numbers["closed"]["accuracy"]  # doctest: +SKIP

    Args:
        model: a recognizer, or where `Recognizer.load` finds one.
        source: images; None, or the run's own source, is the part of the run's data that was held out.
        out: folder of the results; None: the folder ``evaluation`` inside the run folder ``model``, or for a
            recognizer or built-in model ``runs/evaluate-NAME``. An earlier evaluation of the same images is replaced;
            beside one of other images, the name of the images is added to the folder's.
        root: folder with the files of a built-in data set.
        protocols: names of `protocols.PROTOCOLS`; None: all that the images suffice for, except landmarks.
        recalibrate: afterwards fit probabilities, thresholds and what is known about strangers on these images, and
            save them in the model's folder. Its weights and its id stay, so galleries stay valid.
        exist_ok: write into a folder that holds other things.
        quiet: show no progress.

    Raises:
        UsageError: ``out`` holds other files; see also `measure_model`.
        DataError: the run's data has changed since training, or there are too few images to recalibrate on.
    """
    model = model if isinstance(model, Recognizer) else os.fspath(model)
    source = None if source is None else source_name(source)
    if recalibrate and (source is None or isinstance(model, Recognizer) or is_name(model)):
        raise UsageError("Recalibration needs a run or model folder to save into, and DATA: labeled images of a place.")
    folder = Path(out) if out is not None else evaluation_folder(model, source)
    check_folder(folder, exist_ok=exist_ok or out is None)
    result = measure_model(model, source, root=root, protocols=protocols, progress=progress_unless(quiet))
    if recalibrate:
        described = f"{len(result.inputs.images)} images of {source}, {datetime.date.today().isoformat()}"
        again = recalibrated(result.model, result.inputs, described)
        result.model.save(model_folder(str(model)))
        numbers = {**result.metrics.numbers, "recalibrated": asdict(again)}
        result = replace(result, metrics=replace(result.metrics, numbers=numbers))
    folder = folder if out is not None else _beside_others(folder, result)
    new_folder(folder, exist_ok=True)
    with waiting("writing the report", quiet):
        write_evaluation(result, folder)
    return replace(result, folder=folder)


def evaluation_folder(model: Recognizer | str | Path, source: str | Path | None) -> Path:
    """Return the default folder of an evaluation: in the run, or ``runs/evaluate-NAME`` for a model without one."""
    if isinstance(model, Recognizer) or is_name(model):
        return default_folder(str(source), "evaluate-")
    return Path(model) / "evaluation"


def _beside_others(folder: Path, evaluated: EvaluationResult) -> Path:
    """Return ``folder``, or one beside it where it holds an evaluation of other images, which must not be lost."""
    source = str(evaluated.provenance["data"]["source"])
    recorded = RunFolder(folder).metrics
    if not recorded.is_file() or read_json(recorded).get("provenance", {}).get("data", {}).get("source") == source:
        return folder
    return folder.with_name(f"{folder.name}-{Path(source).stem}")


def write_evaluation(evaluated: EvaluationResult, folder: Path, history: list[dict[str, Any]] | None = None) -> None:
    """Write predictions, report and then metrics into ``folder``: where the metrics are, everything is."""
    run = RunFolder(folder)
    write_text(run.predictions, predictions_csv(evaluated))
    write_text(run.report, build_report(evaluated, history).html())
    run.finish({**evaluated.metrics.numbers, "notes": list(evaluated.notes), "provenance": evaluated.provenance})


def build_report(evaluated: EvaluationResult, history: list[dict[str, Any]] | None = None) -> Report:
    """Build the report of one model."""
    spec, origin, numbers = evaluated.model.spec, evaluated.provenance, evaluated.metrics.numbers
    headlines = facts(dict(headlines_in_words(evaluated)), align="right")
    sections = [
        _in_short(evaluated),
        Section("Worst mistakes", [], _mistakes(evaluated)),
        Section(
            "What is taken for what", [], [*_confusion(evaluated), *confused_table(numbers.get("most_confused", []))]
        ),
        Section("The images", [], _examples(evaluated)),
        Section("Numbers", list(evaluated.notes), [headlines], folded=True),
        Section("Curves and angles", [], [*_embedding(evaluated), *_curves(evaluated)], folded=True),
    ]
    sections += [replace(one, folded=True) for one in (*promise_section(numbers), *adaptation_sections(numbers))]
    if "closed" in numbers:
        sections.append(Section("Classes", [], [classes_table(numbers["closed"]["per_class"])], folded=True))
    if history:
        panels = {
            value.replace("_", " "): HistoryDisplay.from_histories({spec.loss: [history]}, value).plot
            for value in ("train_loss", "validation_accuracy")
        }
        figure = Figure.of(panels, "Training curves", "By epoch.", width=4.5, height=3.2)
        sections.append(Section("Training", [], [figure], folded=True))
    record = {
        "command": origin["command"],
        "date": origin["date"],
        "data": f"{origin['data']['source']}, {evaluated.part}, sha256 {origin['data']['digest'][:16]}…",
        "skipped files": origin["data"]["skipped"],
        "model": origin["model"],
        "encoder": spec.encoder,
        "loss": f"{spec.loss} {spec.loss_options}",
        "dimensions": spec.embedding_size,
        "versions": f"steradian {origin['steradian']}, torch {origin['torch']}, Python {origin['python']}",
    }
    sections += [
        Section("What this means", meanings(numbers), [], folded=True),
        Section("Every number", [], [numbers_table(numbers)], folded=True),
        Section("How it was made", [], [facts(record)], folded=True),
    ]
    subtitle = f"A model of {len(spec.classes)} kinds, measured on {evaluated.part} of {origin['data']['source']}"
    shown = [section for section in sections if section.text or section.blocks]
    return Report(f"Evaluation on {origin['data']['source'].rstrip('/').rsplit('/', 1)[-1]}", subtitle, shown)


def headlines_in_words(evaluated: EvaluationResult) -> list[tuple[str, str]]:
    """Return (label, formatted value) of each metric in `HEADLINES` that was measured."""
    values = dict(flat(evaluated.metrics.numbers))
    return [
        (label, form.format(values[key]))
        for key, (label, form) in HEADLINES.items()
        if key in values and values[key] == values[key]
    ]


def readme_numbers(evaluated: EvaluationResult) -> list[tuple[str, str]]:
    """Return `headlines_in_words` with their 95 % intervals, where measured, for the model card."""
    intervals: dict[str, str] = {}
    for key, (words, form) in HEADLINES.items():
        *groups, last = key.split(".")
        values: Any = evaluated.metrics.numbers
        for group in groups:
            values = values.get(group, {})
        if (interval := values.get(f"{last}_interval")) is not None:
            intervals[words] = f" (95 % {form.format(interval[0])} to {form.format(interval[1])})"
    return [(words, value + intervals.get(words, "")) for words, value in headlines_in_words(evaluated)]


def _embedding(evaluated: EvaluationResult) -> list[Block]:
    spec, test = evaluated.model.spec, evaluated.inputs.images
    drawn = np.sort(np.random.default_rng(0).permutation(len(test))[:DRAWN_POINTS])
    raw, labels = test.raw[drawn], test.labels[drawn]
    centers = evaluated.model.head.class_centers().cpu().numpy() if evaluated.inputs.known is not None else None
    blocks: list[Block] = []
    if spec.embedding_size == 2:
        flat_display = EmbeddingDisplay.from_embeddings(raw, labels, evaluated.inputs.classes, centers)
        panels: dict[str, Panel] = {"embedding": flat_display.plot, "directions": flat_display.plot_circle}
        title = "2-D embedding, raw and on the unit circle"
        blocks.append(Figure.of(panels, title, "Rays are class centers.", width=4.5))
    if spec.embedding_size == 3:
        sphere = SphereDisplay.from_embeddings(raw, labels, evaluated.inputs.classes, centers)
        title = "3-D embedding on the unit sphere"
        blocks.append(Figure.of({"": sphere.plot}, title, "Both halves.", width=7.0, height=3.8))
        blocks.append(Spheres("sphere", {spec.loss: sphere}, "Drag to rotate, scroll to zoom."))
    if len(np.unique(labels)) > 1:
        angles = AnglesDisplay.from_embeddings(raw, labels)
        panels = {"angles": angles.plot, "own against nearest other": angles.plot_own_against_nearest}
        title, caption = "Angles to own and nearest other class", "Angles of test images, in degrees."
        blocks.append(Figure.of(panels, title, caption, width=4.5, height=3.4))
    return blocks


def _curves(evaluated: EvaluationResult) -> list[Block]:
    numbers, known, unknown = evaluated.metrics.numbers, evaluated.inputs.known, evaluated.inputs.unknown
    blocks: list[Block] = []
    if "closed" in numbers and known is not None:
        test, classes = known, evaluated.model.spec.classes
        if test.outputs.table is not None:
            blocks.append(curves_picture(test.outputs.table, test.labels, test.predictions, classes))
        else:
            panel = {"reliability": reliability_panel(test.outputs.probability, test.right)}
            blocks.append(Figure.of(panel, "Reliability", "On the line, confidence equals accuracy."))
    if "verification" in numbers:
        parts = {"known classes": known, "unseen classes": unknown}
        curves = {name: _pair_curve(part) for name, part in parts.items() if part is not None}
        available = {name: counts for name, counts in curves.items() if counts is not None}
        if available:
            blocks.append(rates_picture(available, "Rates over all pairs of test images, in cosine steps of 1.2e-4."))
    if "open_set" in numbers and known is not None and unknown is not None:
        answers, others = known.outputs, unknown.outputs
        counts = {
            "cosine": metrics.ScoreCounts.of_parts(answers.cosine, others.cosine),
            "probability": metrics.ScoreCounts.of_parts(answers.probability, others.probability),
        }
        blocks.append(rates_picture(counts, "Known images against unknown ones, by the model's confidence."))
    return blocks


def _in_short(evaluated: EvaluationResult) -> Section:
    """Return the verdict: a sentence, percentages, and what to do."""
    verdict = verdict_of(evaluated.metrics.numbers)
    shares = [Share(label, share, interval) for label, share, interval in (one.row() for one in verdict.headlines)]
    return Section(
        "In short",
        [verdict.sentence, *([verdict.advice] if verdict.advice else [])],
        [Shares(shares)] if shares else [],
        verdict=True,
    )


def _confusion(evaluated: EvaluationResult) -> list[Block]:
    known, classes = evaluated.inputs.known, evaluated.model.spec.classes
    if known is None or "closed" not in evaluated.metrics.numbers:
        return []
    return list(confusion_picture(metrics.Confusion.of(known.predictions, known.labels, len(classes)), classes))


def _examples(evaluated: EvaluationResult) -> list[Block]:
    """Show one measured image of each class, of the first classes."""
    images = evaluated.inputs.images
    if images.pixels is None:
        return []
    classes, first = np.unique(images.labels, return_index=True)
    shown = first[:MOST_EXAMPLES].tolist()
    names = [evaluated.inputs.classes[label] for label in classes[:MOST_EXAMPLES]]
    return [examples(list(images.images(shown)), names, len(classes))]


def _pair_curve(images: EmbeddingSet) -> metrics.ScoreCounts | None:
    labels = images.labels
    if len(np.unique(labels)) in (1, len(labels)):
        return None
    return metrics.verify_all_pairs(images.raw, labels, (0.5,)).histogram


def _mistakes(evaluated: EvaluationResult) -> list[Block]:
    """Show the most confident mistakes, each beside the most similar image of the predicted class."""
    known = evaluated.inputs.known
    if known is None or known.pixels is None or "closed" not in evaluated.metrics.numbers:
        return []
    inputs, test = evaluated.inputs, known
    others = inputs.reference if inputs.reference is not None else known
    wrong = np.flatnonzero(~test.right)
    worst = wrong[np.argsort(-test.outputs.probability[wrong], kind="stable")][:WORST]
    tiles = []
    for image in worst.tolist():
        said, true = inputs.classes[test.predictions[image]], inputs.classes[test.labels[image]]
        members = np.flatnonzero(others.labels == test.predictions[image])
        shown, described = [test.images([image])[0]], [f"An image of {true}"]
        if len(members):
            nearest = metrics.nearest_neighbors(test.raw[[image]], others.raw[members], 1).place[0, 0]
            shown.append(others.images([int(members[nearest])])[0])
            described.append(f"The most similar image of {said}")
        sure = percent(float(test.outputs.probability[image]))
        tiles.append(Tile(shown, described, f"said {said}, {sure} sure", f"is {true}"))
    if not tiles:
        return []
    part = "training" if inputs.reference is not None else "test"
    caption = (
        f"The most confident of {len(wrong):,} mistakes; right of each, the most similar {part} image of what was said."
    )
    return [Tiles(tiles, caption, width=15)]
