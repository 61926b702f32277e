"""Build the report of a freezing study."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from steradian.metrics import t_interval
from steradian.plots.layers import FREEZING_STYLES, FreezingDisplay
from steradian.plots.report import Cell, Figure, Report, Section, Table, facts
from steradian.studies.transferability.freezing_result import ARMS, FreezingResult


def advice(result: FreezingResult) -> list[str]:
    """Return sentences that recommend n and state how certain that is."""
    best = result.advised()
    if best is None:
        return ["No network was finished, so there is no recommendation."]
    mean = float(np.mean(list(result.values("kept", best).values())))
    spent = {n: _finite_values(list(result.values("kept", n, "cpu_seconds").values())) for n in result.layers}
    seconds = {n: float(np.mean(values)) for n, values in spent.items() if values}
    cost = f", {seconds[best]:.0f} CPU seconds per training" if best in seconds else ""
    sentences = [
        f"Keep the first {best} of {result.depth} layers (--freeze {best}): best on validation images, {mean:.4f} on "
        f"test images{cost}."
    ]
    seeds_of = {n: result.values("kept", n).keys() for n in result.layers}
    others = {n: result.difference(best, n) for n in result.layers if n != best and seeds_of[best] & seeds_of[n]}
    ties = [n for n, value in others.items() if math.isnan(value.low) or not value.excludes_zero]
    if ties:
        sentence = f"Within noise of it on test images: n = {', '.join(map(str, ties))}"
        timed = [n for n in ties if n in seconds and best in seconds]
        cheapest = min(timed, key=lambda n: seconds[n]) if timed else best
        faster = seconds[best] / seconds[cheapest] if timed else 1.0
        sentences.append(
            f"{sentence}; n = {cheapest} trains {faster:.1f} times as fast." if faster > 1 else f"{sentence}."
        )
    scratch = list(result.values("scratch", 0).values())
    if scratch:
        sentences.append(f"Without the pretrained weights: {float(np.mean(scratch)):.4f}.")
    return sentences


def display_of(result: FreezingResult) -> FreezingDisplay:
    """Return the plot of every network of the study."""
    values: dict[str, dict[int, list[float]]] = {
        arm: {n: list(result.values(arm, n).values()) for n in result.layers} for arm in ARMS
    }
    return FreezingDisplay.from_accuracies(values, list(result.values("scratch", 0).values()), result.advised())


def build_report(result: FreezingResult) -> Report:
    """Build the report: recommendation, figure, table and provenance."""
    panels = {"every network": display_of(result).plot}
    caption = "Each marker is a network; lines connect their means. The dotted line is the recommended n."
    figure = Figure.of(panels, "Accuracy by layers kept", caption, width=6.2, height=4.4)
    text = advice(result)
    text += [f"{name} failed and is left out: {why.splitlines()[0]}" for name, why in result.failures.items()]
    origin = result.provenance
    record = {
        "command": origin["command"],
        "date": origin["date"],
        "data": f"{origin['data']['source']}, sha256 {origin['data']['digest'][:16]}…",
        "encoder": f"{result.recipe.encoder}, weights {result.recipe.weights}",
        "seeds": result.seeds,
        "epochs": result.recipe.training.epochs,
        "versions": f"steradian {origin['steradian']}, torch {origin['torch']}, Python {origin['python']}",
    }
    sections = [
        Section("What it says", text),
        Section("Figure", [], [figure]),
        Section("Numbers", [], [_table(result)]),
        Section("How it was made", [], [facts(record)]),
    ]
    name = origin["data"]["source"].rstrip("/").rsplit("/", 1)[-1]
    subtitle = f"{result.recipe.encoder}, {result.depth} layers, {result.seeds} seed(s)"
    return Report(f"Which layers to keep for {name}", subtitle, sections)


def _table(result: FreezingResult) -> Table:
    best, rows = result.advised(), []
    for arm in ARMS:
        cells = [Cell(FREEZING_STYLES[arm][0])]
        for n in result.layers:
            if values := list(result.values(arm, n).values()):
                value = t_interval(values)
                half = "" if math.isnan(value.low) else f" ± {value.half_width:.3f}"
                cells.append(Cell(f"{value.mean:.3f}{half}", "best" if arm == "kept" and n == best else ""))
            else:
                cells.append(Cell("–"))
        rows.append(cells)
    for label, what, form in (("validation, kept", "validation", "{:.3f}"), ("CPU s, kept", "cpu_seconds", "{:.0f}")):
        by_n = [_finite_values(list(result.values("kept", n, what).values())) for n in result.layers]
        rows.append([Cell(label), *(Cell(form.format(np.mean(finite)) if finite else "–") for finite in by_n)])
    notes = ["Accuracy on test images; ± is half the 95 % interval over seeds (Student's t). Bold: recommended."]
    return Table(["", *(f"n = {n}" for n in result.layers)], rows, notes)


def _finite_values(values: list[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def numbers_of(result: FreezingResult) -> dict[str, Any]:
    """Return plain values for JSON."""
    return {
        "depth": result.depth,
        "advised": result.advised(),
        "advice": advice(result),
        "accuracy": {arm: {str(n): list(result.values(arm, n).values()) for n in result.layers} for arm in ARMS},
        "scratch": list(result.values("scratch", 0).values()),
        "failures": result.failures,
    }
