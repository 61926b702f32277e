"""Build the report of a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from steradian import losses
from steradian.losses.fitted import DEPARTURES
from steradian.metrics import t_interval
from steradian.plots import (
    AnglesDisplay,
    ConfusionDisplay,
    EmbeddingDisplay,
    HistoryDisplay,
    IntervalsDisplay,
    SphereDisplay,
    TargetLogitDisplay,
)
from steradian.plots.report import Block, Cell, Figure, Mark, Report, Section, Share, Shares, Spheres, Table, facts
from steradian.plots.theme import Panel
from steradian.plots.tiles import MOST_EXAMPLES, examples
from steradian.studies.comparison.cells import CellResult
from steradian.studies.comparison.noise import Verdict, verdicts
from steradian.studies.comparison.result import ComparisonResult
from steradian.studies.comparison.verdict import Ranked, headings, ranked, verdict_of
from steradian.training.dataset import TrainingData

DRAWN_POINTS = 1500
"""Largest number of test images drawn in a plot."""

COLUMNS: tuple[tuple[str, str, Callable[[float], str], bool | None], ...] = (
    ("clustering.majority", "k-means\naccuracy", lambda v: f"{v:.4f}", True),
    ("closed.accuracy", "accuracy", lambda v: f"{v:.4f}", True),
    ("neighbors.knn_accuracy", "5-NN\naccuracy", lambda v: f"{v:.4f}", True),
    ("clustering.silhouette", "silhouette", lambda v: f"{v:.3f}", True),
    ("verification.eer", "EER", lambda v: f"{v:.4f}", False),
    ("verification.tar_at_far.1e-03", "TAR@FAR\n1e-3", lambda v: f"{v:.3f}", True),
    ("retrieval.map_at_r", "MAP@R", lambda v: f"{v:.3f}", True),
    ("unseen.retrieval.recall_at_1", "unseen:\nrecall@1", lambda v: f"{v:.3f}", True),
    ("unseen.verification.eer", "unseen:\nEER", lambda v: f"{v:.4f}", False),
    ("unseen.verification.tar_at_far.1e-03", "unseen: TAR\n@FAR 1e-3", lambda v: f"{v:.3f}", True),
    ("open_set.cosine.auroc", "known or not:\nAUROC", lambda v: f"{v:.3f}", True),
    ("open_set.cosine.oscr", "known or not:\nOSCR", lambda v: f"{v:.3f}", True),
    ("geometry.own_angle_degrees", "own angle\n(median °)", lambda v: f"{v:.1f}", None),
    ("geometry.smallest_angle_between_classes_degrees", "closest\nclasses (°)", lambda v: f"{v:.1f}", None),
    ("geometry.hull_ratio", "hull\nratio", lambda v: f"{v:.3f}", None),
    ("geometry.ellipsoid_ratio", "95 % ellipsoid\nratio", lambda v: f"{v:.3f}", None),
    ("cost.seconds_per_epoch", "s/epoch", lambda v: f"{v:.2f}", None),
    ("cost.peak_memory_mib", "peak\nMiB", lambda v: f"{v:.0f}", None),
)
"""(key, heading, format, whether higher is better; None: not judged)."""


def build_report(compared: ComparisonResult, data: TrainingData | None = None) -> Report:
    """Build the report, with one section per dimension; ``data`` for examples of its images."""
    comparison = compared.comparison
    sections = [_in_short(compared)]
    for dims in comparison.dims:
        numbers = Section(f"All numbers, {dims}-D", _how_sure(compared), [_table(compared, dims)], folded=True)
        sections += [_section(compared, dims), numbers]
    sections += [_images(data)] if data is not None and len(data.splits.test) else []
    sections += [_tuning(compared)] if comparison.tuned else []
    sections += [replace(_curves(compared), folded=True), replace(_provenance(compared), folded=True)]
    return Report(
        f"Techniques compared on {comparison.recipe.data.source.rstrip('/').rsplit('/', 1)[-1]}",
        f"{_plural(len(comparison.losses), 'technique')}, {_plural(comparison.seeds, 'seed')}, "
        f"{comparison.recipe.training.epochs} epochs each, the same encoder and budget for all",
        sections,
    )


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def judged(compared: ComparisonResult, key: str, dims: int, higher: bool) -> dict[str, Verdict]:
    """Return `noise.verdicts` for metric ``key`` in ``dims`` dimensions."""
    return verdicts(compared.by_seed(key, dims), compared.right(key, dims), higher_is_better=higher)


def _in_short(compared: ComparisonResult) -> Section:
    """Return what to take, how sure that is, what it costs, and one picture of it."""
    verdict, rows = verdict_of(compared), ranked(compared)
    shares = [Share(label, share, interval) for label, share, interval in (one.row() for one in verdict.headlines)]
    blocks: list[Block] = [_picture(compared, rows[0])] if rows else []
    blocks += [Shares(shares)] if shares else []
    if rows:
        marks: dict[str, Mark] = {"best": "best", "worse": "worse"}
        cells = [[Cell(text, marks.get(row.standing, "")) for text in row.cells()] for row in rows]
        note = (
            "Each technique is judged against the best. Close: the difference is smaller than noise. Worse: it is "
            "larger."
        )
        blocks.append(Table(headings(compared), cells, [note]))
    text = [verdict.sentence, *([verdict.advice] if verdict.advice else []), *compared.warnings]
    text += [f"{name} failed and is left out: {why.splitlines()[0]}" for name, why in compared.failures.items()]
    return Section("In short", text, blocks, verdict=True)


def _picture(compared: ComparisonResult, best: Ranked) -> Figure:
    """Return one picture of the best technique: its directions, or where it confuses classes."""
    cell, classes = compared.first(best.dims)[best.loss], compared.classes
    drawn = _drawn_images(cell)
    title = f"{best.loss}, {best.dims}-D"
    if best.dims == 2:
        circle = EmbeddingDisplay.from_embeddings(cell.raw[drawn], cell.labels[drawn], classes, cell.centers)
        caption = "The directions of the test images on a circle. Well separated kinds have bars far apart."
        return Figure.of({title: circle.plot_circle}, "Directions of test images", caption, width=4.6)
    if best.dims == 3:
        sphere = SphereDisplay.from_embeddings(cell.raw[drawn], cell.labels[drawn], classes, cell.centers)
        caption = "The test images on a sphere, both halves. Every color is a kind; names stand at their centers."
        halves = {f"{title}, front": sphere.plot_front, "back": sphere.plot_back}
        return Figure.of(halves, "Test images on a sphere", caption, width=3.6)
    confusion = ConfusionDisplay.from_predictions(cell.labels, cell.predictions, classes)
    caption = "Rows are true kinds, columns what was said."
    return Figure.of({title: confusion.plot}, "What is taken for what", caption, width=5.6)


def _images(data: TrainingData) -> Section:
    labels = data.pixels.labels[data.splits.test]
    classes, first = np.unique(labels, return_index=True)
    images = [data.pixels.pixels[index] for index in data.splits.test[first[:MOST_EXAMPLES]]]
    names = [data.pixels.classes[label] for label in classes[:MOST_EXAMPLES]]
    return Section("The images", [], [examples(images, names, len(classes))])


def _how_sure(compared: ComparisonResult) -> list[str]:
    if compared.comparison.seeds == 1:
        return ["With one seed, differences are judged over the test images alone."]
    return [
        f"Differences to the best are paired over {compared.comparison.seeds} seeds and, for accuracies, over test "
        "images (95 % over all comparisons in a column). Intervals of accuracies cover new seeds and new "
        "images like these; other intervals cover new seeds on these images."
    ]


def _table(compared: ComparisonResult, dims: int) -> Table:
    shown = [column for column in COLUMNS if any(compared.values(column[0], dims).values())]
    standing = {key: judged(compared, key, dims, higher) for key, _, _, higher in shown if higher is not None}
    values = {key: compared.values(key, dims) for key, *_ in shown}
    order = {row.loss: place for place, row in enumerate(ranked(compared)) if row.dims == dims}
    rows = [
        [Cell(name), *(_cell(values[key][name], form, standing.get(key, {}).get(name)) for key, _, form, _ in shown)]
        for name in sorted(compared.comparison.losses, key=lambda one: order.get(one, len(order)))
    ]
    notes = [
        "Bold: the best mean of its column. ≈: within noise of it. Gray: worse by more than noise.",
        "± is half the 95 % interval of the mean over seeds (Student's t); with one seed there is none.",
        "k-means accuracy: clusters of unit vectors, each assigned its majority class. Hull and ellipsoid "
        "ratios: volumes of the classes over that of all points, raw embeddings, smaller is tighter.",
    ]
    if any(key.startswith("unseen.") for key, _, _, _ in shown):
        notes.append(
            "Unseen: on classes that no technique was trained on. Known or not: by the cosine to the nearest center, "
            "images of trained classes against those of unseen ones."
        )
    notes += [f"{name}: {DEPARTURES[name]}." for name in compared.comparison.losses if name in DEPARTURES]
    return Table(["", *(heading for _, heading, _, _ in shown)], rows, notes)


def _cell(values: list[float], form: Callable[[float], str], verdict: Verdict | None) -> Cell:
    if not values:
        return Cell("–")
    interval = t_interval(values)
    text = form(interval.mean)
    if not math.isnan(interval.low):
        text += f" ± {form(interval.half_width)}"
    standing = verdict.standing if verdict is not None else "unknown"
    marks: dict[str, Mark] = {"best": "best", "worse": "worse"}
    return Cell(text + (" ≈" if standing == "within noise" else ""), marks.get(standing, ""))


def _drawn_images(cell: CellResult) -> Any:
    """Return the indices of the test images to draw: all, or a seeded sample."""
    if len(cell.labels) <= DRAWN_POINTS:
        return np.arange(len(cell.labels))
    return np.sort(np.random.default_rng(0).choice(len(cell.labels), DRAWN_POINTS, replace=False))


def _section(compared: ComparisonResult, dims: int) -> Section:
    first, classes = compared.first(dims), compared.classes
    blocks = _circles(first, classes) if dims == 2 else _spheres(first, classes) if dims == 3 else []
    histograms: dict[str, Panel] = {}
    scatters: dict[str, Panel] = {}
    confusions: dict[str, Panel] = {}
    for name, cell in first.items():
        if len(np.unique(cell.labels)) > 1:
            angles = AnglesDisplay.from_embeddings(cell.raw, cell.labels)
            histograms[name] = angles.plot
            scatters[name] = angles.plot_own_against_nearest
        confusions[name] = ConfusionDisplay.from_predictions(cell.labels, cell.predictions, classes).plot
    if histograms:
        title = f"Histograms of angles to own and nearest other class, {dims}-D"
        caption = (
            "Angles of test images to the mean direction of their own class and of the nearest other: "
            "the less the two overlap, the better a threshold works."
        )
        blocks.append(Figure.of(histograms, title, caption, width=3.1, height=2.4))
        title = f"Angle to own class against angle to nearest other class, {dims}-D"
        caption = (
            "One point per test image. Above the diagonal its own class is nearest; the distance from the "
            "diagonal is its margin."
        )
        blocks.append(Figure.of(scatters, title, caption, width=3.1))
    caption = "Confusion matrices of margin-free predictions, first seed: rows are true classes, columns predictions."
    blocks.append(Figure.of(confusions, f"Confusion matrices, {dims}-D", caption, width=3.3))
    blocks += [_intervals(compared, dims)] if compared.comparison.seeds > 1 else []
    return Section(f"{dims} dimensions", [], blocks)


def _circles(first: dict[str, CellResult], classes: tuple[str, ...]) -> list[Block]:
    raw: dict[str, Panel] = {}
    circle: dict[str, Panel] = {}
    for name, cell in first.items():
        drawn = _drawn_images(cell)
        display = EmbeddingDisplay.from_embeddings(cell.raw[drawn], cell.labels[drawn], classes, cell.centers)
        raw[name], circle[name] = display.plot, display.plot_circle
    return [
        Figure.of(
            raw,
            "Scatter plots of 2-D test embeddings with class-center rays",
            "Test images in the embedding that was trained in 2-D (no projection), first seed. Rays are class centers; "
            "the distance from the middle is the norm, which some losses use as confidence. Points with a rim: "
            "nearer to another center.",
        ),
        Figure.of(
            circle,
            "Directions of 2-D test embeddings on the unit circle",
            "The same directions on the unit circle: bars outside it show how many images point there (square-root "
            "scale).",
        ),
    ]


def _spheres(first: dict[str, CellResult], classes: tuple[str, ...]) -> list[Block]:
    displays = {}
    for name, cell in first.items():
        drawn = _drawn_images(cell)
        displays[name] = SphereDisplay.from_embeddings(cell.raw[drawn], cell.labels[drawn], classes, cell.centers)
    fewer = {
        name: SphereDisplay(display.directions[:600], display.labels[:600], display.classes, display.centers)
        for name, display in displays.items()
    }
    still = {name: display.plot for name, display in displays.items()}
    title = "3-D test embeddings on the unit sphere, both halves"
    caption = (
        "Directions of test images on the unit sphere, trained in 3-D (no projection), first seed: both halves, "
        "each seen straight on from outside. Names stand at the class centers."
    )
    return [
        Figure.of(still, title, caption, width=4.6, height=2.7),
        Spheres("spheres-3d", fewer, "Drag to rotate, scroll to zoom, click a name in the legend to hide it."),
    ]


def _intervals(compared: ComparisonResult, dims: int) -> Figure:
    panels = {
        title: IntervalsDisplay.from_values(title, compared.values(key, dims)).plot
        for key, title in (("clustering.majority", "k-means accuracy"), ("closed.accuracy", "accuracy"))
    }
    title, height = f"Accuracies by technique with intervals, {dims}-D", 0.7 + 0.36 * len(compared.comparison.losses)
    caption = "Open points are seeds, the filled one their mean, the line its 95 % interval."
    return Figure.of(panels, title, caption, width=4.5, height=height)


def _tuning(compared: ComparisonResult) -> Section:
    comparison = compared.comparison
    rows = [
        (
            Cell(name),
            Cell(f"{dims}-D"),
            Cell(", ".join(f"{kind} × {factor:.2f}" for kind, factor in trial.factors.items()) or "nothing to tune"),
            Cell(f"{trial.score:.4f}"),
        )
        for (name, dims), trial in sorted(comparison.tuned.items())
    ]
    text = (
        f"Every technique had {comparison.trials} trials to adjust margin and scale around the values fitted to the "
        "number of classes and dimensions. MAP@R on validation images selected the best trial; "
        "test images were not used.",
    )
    headings = ("technique", "dims", "best factors", "MAP@R, validation")
    return Section("Tuning", text, [Table(headings, rows, align="left")])


def _curves(compared: ComparisonResult) -> Section:
    blocks: list[Block] = []
    for dims in compared.comparison.dims:
        histories = {
            name: [cell.history for cell in compared.cells if cell.spec.dims == dims and cell.spec.loss == name]
            for name in compared.comparison.losses
        }
        panels = {
            f"{dims}-D: {value.replace('_', ' ')}": HistoryDisplay.from_histories(histories, value).plot
            for value in ("train_loss", "validation_accuracy")
        }
        caption = (
            "Losses of different techniques are in different units: compare their shapes, not their heights. "
            "Pair losses have no classifier to validate during training."
        )
        blocks.append(Figure.of(panels, f"Training curves, {dims}-D", caption, width=4.5, height=3.4))
    return Section("Training", [], [*blocks, _margins(compared)])


def _margins(compared: ComparisonResult) -> Figure:
    panels: dict[str, Panel] = {}
    for dims in compared.comparison.dims:
        made = {
            name: losses.create(name, len(compared.classes), dims, **cell.options)
            for name, cell in compared.first(dims).items()
        }
        # A new loss has an untrained score, whose curve would be wrong, so it is left out.
        fixed = {name: loss for name, loss in made.items() if getattr(loss, "score", None) is None}
        panels[f"{dims}-D"] = TargetLogitDisplay.from_losses(fixed).plot
    return Figure.of(
        panels,
        "Target logit against angle for every technique",
        "The effect of each margin: the target logit over the scale, by angle to its own center. "
        "Steeper and lower is stricter. Pair losses and learned scores have no such curve.",
        width=4.5,
        height=3.4,
    )


def _provenance(compared: ComparisonResult) -> Section:
    origin, recipe = compared.provenance, compared.comparison.recipe
    record = {
        "command": origin["command"],
        "date": origin["date"],
        "data": f"{origin['data']['source']}, {origin['data']['images']} images",
        "data sha256": origin["data"]["digest"],
        "encoder": recipe.encoder or "default for the size",
        "epochs, batch": f"{recipe.training.epochs}, {recipe.training.batch_size}",
        "first seed": recipe.training.seed,
        "versions": f"steradian {origin['steradian']}, torch {origin['torch']}, Python {origin['python']}",
        "machine": f"{origin['system']} {origin['machine']}, {origin['device']}",
    }
    options = [
        (Cell(name), Cell(f"{dims}-D"), Cell(", ".join(f"{k}={_rounded(v)}" for k, v in cell.options.items())))
        for dims in compared.comparison.dims
        for name, cell in compared.first(dims).items()
    ]
    blocks = [facts(record), Table(("technique", "dims", "options"), options, align="left")]
    text = [
        "All techniques share encoder, neck, data, splits, schedule, auxiliary head and, where they have any, center "
        "initialization and ramps of margin and scale. "
        "Nothing is selected on test images: the number of epochs is fixed; the last weights are measured."
    ]
    return Section("How it was made", text, blocks)


def _rounded(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
