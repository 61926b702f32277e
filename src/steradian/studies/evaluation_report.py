"""The page of one model's evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from steradian import metrics
from steradian.files import write_json, write_text
from steradian.models.heads import class_centers
from steradian.plots import AnglesDisplay, EmbeddingDisplay, HistoryDisplay, MistakesDisplay, SphereDisplay
from steradian.plots.report import Block, Cell, Figure, Report, Section, Spheres, Table, facts
from steradian.plots.theme import Panel, small_multiples
from steradian.studies.closed import (
    classes_table,
    confused_table,
    confusion_picture,
    curves_picture,
    reliability_panel,
)
from steradian.studies.evaluation import Evaluated, Images, predictions_csv
from steradian.studies.measurement import flat
from steradian.studies.verified import rates_picture
from steradian.studies.words import meanings, numbers_table

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
    "identification.detection_at_false_alarms.1e-02": ("identification: found at 1e-2 false alarms", "{:.4f}"),
    "retrieval.recall_at_1": ("recall at 1", "{:.4f}"),
    "retrieval.map_at_r": ("MAP@R", "{:.4f}"),
    "open_set.cosine.auroc": ("known or unknown: AUROC", "{:.4f}"),
    "landmarks.gap": ("GAP", "{:.4f}"),
    "unseen.verification.eer": ("unseen classes: equal error rate", "{:.4f}"),
    "unseen.verification.tar_at_far.1e-03": ("unseen classes: TAR at FAR 1e-3", "{:.4f}"),
    "unseen.retrieval.recall_at_1": ("unseen classes: recall at 1", "{:.4f}"),
    "geometry.own_angle_degrees": ("angle to own class, median (°)", "{:.1f}"),
    "geometry.nearest_other_angle_degrees": ("angle to nearest other class, median (°)", "{:.1f}"),
    "geometry.smallest_angle_between_classes_degrees": ("smallest angle between classes (°)", "{:.1f}"),
    "geometry.hull_ratio": ("hull volume ratio", "{:.3f}"),
    "geometry.ellipsoid_ratio": ("95 % ellipsoid ratio", "{:.3f}"),
}
"""What is read first: key -> (words, format)."""

WORST = 12
"""Mistakes that are shown as pictures."""

DRAWN_POINTS = 4000


def write_evaluation(evaluated: Evaluated, out: Path, history: list[dict[str, Any]] | None = None) -> None:
    """``predictions.csv``, ``report.html`` and then ``metrics.json`` in ``out``: where the last is, everything is."""
    write_text(out / "predictions.csv", predictions_csv(evaluated))
    write_text(out / "report.html", build_report(evaluated, history).html())
    content = {**evaluated.measured.numbers, "notes": list(evaluated.notes), "provenance": evaluated.provenance}
    write_json(out / "metrics.json", content)


def build_report(evaluated: Evaluated, history: list[dict[str, Any]] | None = None) -> Report:
    """The page of one model."""
    spec, origin, numbers = evaluated.model.spec, evaluated.provenance, evaluated.measured.numbers
    headlines = Table(("", ""), [(Cell(words), Cell(value)) for words, value in headlines_in_words(evaluated)])
    sections = [
        Section("Numbers", list(evaluated.notes), [headlines]),
        Section("Pictures", [], [*_embedding(evaluated), *_curves(evaluated)]),
        Section("Worst mistakes", [], [*_mistakes(evaluated), *confused_table(numbers.get("most_confused", []))]),
    ]
    if "closed" in numbers:
        sections.append(Section("Classes", [], [classes_table(numbers["closed"]["per_class"])]))
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
    sections += [
        Section("What this means", meanings(numbers), []),
        Section("Every number", [], [numbers_table(numbers)]),
        Section("How it was made", [], [facts(record)]),
    ]
    subtitle = (
        f"{spec.loss}, {spec.embedding_size} dimensions, {len(spec.classes)} classes, measured on {evaluated.part}"
    )
    shown = [section for section in sections if section.text or section.blocks]
    return Report(f"Evaluation on {origin['data']['source'].rstrip('/').rsplit('/', 1)[-1]}", subtitle, shown)


def headlines_in_words(evaluated: Evaluated) -> list[tuple[str, str]]:
    """(words, formatted value) of those of `HEADLINES` that could be measured."""
    found = dict(flat(evaluated.measured.numbers))
    return [
        (words, form.format(found[key]))
        for key, (words, form) in HEADLINES.items()
        if key in found and found[key] == found[key]
    ]


def card_numbers(evaluated: Evaluated) -> list[tuple[str, str]]:
    """`headlines_in_words` with the 95 % intervals that were measured beside them, for the model card."""
    intervals: dict[str, str] = {}
    for key, (words, form) in HEADLINES.items():
        *groups, last = key.split(".")
        place: Any = evaluated.measured.numbers
        for group in groups:
            place = place.get(group, {}) if isinstance(place, dict) else {}
        found = place.get(f"{last}_interval") if isinstance(place, dict) else None
        if found is not None:
            intervals[words] = f" (95 % {form.format(found[0])} to {form.format(found[1])})"
    return [(words, value + intervals.get(words, "")) for words, value in headlines_in_words(evaluated)]


def _main(evaluated: Evaluated) -> Images:
    found = evaluated.known if evaluated.known is not None else evaluated.unknown
    if found is None:
        raise RuntimeError("an evaluation without images")
    return found


def _embedding(evaluated: Evaluated) -> list[Block]:
    spec, test = evaluated.model.spec, _main(evaluated).embedded
    kept = np.sort(np.random.default_rng(0).permutation(len(test))[:DRAWN_POINTS])
    raw, labels = test.raw[kept], test.labels[kept]
    centers = class_centers(evaluated.model.head).cpu().numpy() if evaluated.known is not None else None
    blocks: list[Block] = []
    if spec.embedding_size == 2:
        flat_display = EmbeddingDisplay.from_embeddings(raw, labels, evaluated.classes, centers)
        panels: dict[str, Panel] = {"embedding": flat_display.plot, "directions": flat_display.plot_circle}
        words = "2-D embedding, raw and on the unit circle"
        blocks.append(Figure(small_multiples(panels, words, columns=2, width=4.5), "Rays are class centers."))
    if spec.embedding_size == 3:
        sphere = SphereDisplay.from_embeddings(raw, labels, evaluated.classes, centers)
        words = "3-D embedding on the unit sphere"
        blocks.append(Figure(small_multiples({"": sphere.plot}, words, width=7.0, height=3.8), "Both halves."))
        blocks.append(Spheres("sphere", {spec.loss: sphere}, "Drag to turn, scroll to come closer."))
    if len(np.unique(labels)) > 1:
        angles = AnglesDisplay.from_embeddings(raw, labels)
        panels = {"angles": angles.plot, "own against nearest other": angles.plot_own_against_nearest}
        words = "Angles to own and nearest other class"
        blocks.append(
            Figure(small_multiples(panels, words, columns=2, width=4.5, height=3.4), "Of test images, in degrees.")
        )
    return blocks


def _curves(evaluated: Evaluated) -> list[Block]:
    numbers, known, unknown = evaluated.measured.numbers, evaluated.known, evaluated.unknown
    blocks: list[Block] = []
    if "closed" in numbers and known is not None:
        test, classes = known.embedded, evaluated.model.spec.classes
        confusion = metrics.Confusion.of(test.labels, test.predictions, len(classes))
        blocks += confusion_picture(confusion, classes)
        if test.answers.table is not None:
            blocks.append(curves_picture(test.answers.table, test.labels, test.predictions, classes))
        else:
            panel = {"reliability": reliability_panel(test.answers.probability, test.right)}
            blocks.append(Figure(small_multiples(panel, "Reliability"), "On the line a confidence means what it says."))
    if "verification" in numbers:
        parts = {"known classes": known, "unseen classes": unknown}
        curves = {name: _pair_curve(part) for name, part in parts.items() if part is not None}
        some = {name: counts for name, counts in curves.items() if counts is not None}
        if some:
            blocks.append(rates_picture(some, "Of all pairs of test images, in steps of 1.2e-4 of the cosine."))
    if "open_set" in numbers and known is not None and unknown is not None:
        answers, others = known.embedded.answers, unknown.embedded.answers
        counts = {
            "cosine": metrics.ScoreCounts.of_parts(answers.cosine, others.cosine),
            "probability": metrics.ScoreCounts.of_parts(answers.probability, others.probability),
        }
        blocks.append(rates_picture(counts, "Known images against unknown ones, by how sure the model is."))
    return blocks


def _pair_curve(images: Images) -> metrics.ScoreCounts | None:
    labels = images.embedded.labels
    if len(np.unique(labels)) in (1, len(labels)):
        return None
    return metrics.verify_all_pairs(images.embedded.raw, labels, (0.5,)).histogram


def _mistakes(evaluated: Evaluated) -> list[Block]:
    """The surest wrong answers, each beside the most similar image of the class that was named."""
    known = evaluated.known
    if known is None or "closed" not in evaluated.measured.numbers:
        return []
    test, others = known.embedded, evaluated.reference if evaluated.reference is not None else known
    wrong = np.flatnonzero(~test.right)
    worst = wrong[np.argsort(-test.answers.probability[wrong], kind="stable")][:WORST]
    shown, alike = [], []
    for image in worst.tolist():
        members = np.flatnonzero(others.embedded.labels == test.predictions[image])
        if len(members):
            nearest = metrics.nearest_neighbors(test.raw[[image]], others.embedded.raw[members], 1).place[0, 0]
            shown.append(image)
            alike.append(int(members[nearest]))
    if not shown:
        return []
    display = MistakesDisplay.from_answers(
        known.pixels.pixels[known.chosen[shown]],
        others.pixels.pixels[others.chosen[alike]],
        [evaluated.classes[label] for label in test.labels[shown]],
        [evaluated.classes[label] for label in test.predictions[shown]],
        test.answers.probability[shown].tolist(),
    )
    picture = small_multiples(
        {"": display.plot}, "The surest wrong answers", columns=1, width=8.8, height=1.45 * display.rows
    )
    where = "training" if evaluated.reference is not None else "test"
    caption = f"Of {len(wrong):,} wrong answers the surest; right of each the most similar {where} image of that class."
    return [Figure(picture, caption)]
