"""The page of a study of freezing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from steradian.metrics import t_interval
from steradian.plots.freezing import STYLES, FreezingDisplay
from steradian.plots.report import Cell, Figure, Report, Section, Table, facts
from steradian.plots.theme import Panel, small_multiples
from steradian.studies.freezing import ARMS, Frozen


def advice(found: Frozen) -> list[str]:
    """What to do, and how sure that is, in sentences."""
    best = found.advised()
    if best is None:
        return ["No network was finished, so nothing can be advised."]
    mean = float(np.mean(list(found.values("kept", best).values())))
    spent = {n: _known(list(found.values("kept", n, "cpu_seconds").values())) for n in found.layers}
    seconds = {n: float(np.mean(values)) for n, values in spent.items() if values}
    cost = f", {seconds[best]:.0f} CPU seconds a training" if best in seconds else ""
    said = [
        f"Keep the first {best} of {found.depth} layers (--freeze {best}): best on validation images, {mean:.4f} on "
        f"test images{cost}."
    ]
    alike = []
    for n in found.layers:
        if n != best and found.values("kept", best).keys() & found.values("kept", n).keys():
            value = found.difference(best, n)
            if math.isnan(value.low) or not value.excludes_zero:
                alike.append(n)
    if alike:
        told = f"Not told apart from it on test images: n = {', '.join(map(str, alike))}"
        timed = [n for n in alike if n in seconds and best in seconds]
        cheapest = min(timed, key=lambda n: seconds[n]) if timed else best
        faster = seconds[best] / seconds[cheapest] if timed else 1.0
        said.append(f"{told}; of these n = {cheapest} trains {faster:.1f} times as fast." if faster > 1 else f"{told}.")
    scratch = list(found.values("scratch", 0).values())
    if scratch:
        said.append(f"Without the pretrained weights: {float(np.mean(scratch)):.4f}.")
    return said


def display_of(found: Frozen) -> FreezingDisplay:
    """Every network of the study."""
    values: dict[str, dict[int, list[float]]] = {
        arm: {n: list(found.values(arm, n).values()) for n in found.layers} for arm in ARMS
    }
    return FreezingDisplay.from_accuracies(values, list(found.values("scratch", 0).values()), found.advised())


def build_report(found: Frozen) -> Report:
    """Advice, figure, table, record."""
    panels: dict[str, Panel] = {"every network": display_of(found).plot}
    figure = Figure(
        small_multiples(panels, "Accuracy by layers kept", columns=1, width=6.2, height=4.4),
        "Each marker is a network, lines go through their means. The dotted line is what validation images advise.",
    )
    text = advice(found)
    text += [f"{name} failed and is left out: {why.splitlines()[0]}" for name, why in found.failures.items()]
    origin = found.provenance
    record = {
        "command": origin["command"],
        "date": origin["date"],
        "data": f"{origin['data']['source']}, sha256 {origin['data']['digest'][:16]}…",
        "encoder": f"{found.recipe.encoder}, weights {found.recipe.weights}",
        "seeds": found.seeds,
        "epochs": found.recipe.training.epochs,
        "versions": f"steradian {origin['steradian']}, torch {origin['torch']}, Python {origin['python']}",
    }
    sections = [
        Section("What it says", text),
        Section("Figure", [], [figure]),
        Section("Numbers", [], [_table(found)]),
        Section("How it was made", [], [facts(record)]),
    ]
    name = origin["data"]["source"].rstrip("/").rsplit("/", 1)[-1]
    subtitle = f"{found.recipe.encoder}, {found.depth} layers, {found.seeds} seed(s)"
    return Report(f"Which layers to keep for {name}", subtitle, sections)


def _table(found: Frozen) -> Table:
    best, rows = found.advised(), []
    for arm in ARMS:
        cells = [Cell(STYLES[arm][0])]
        for n in found.layers:
            values = list(found.values(arm, n).values())
            if not values:
                cells.append(Cell("–"))
                continue
            value = t_interval(values)
            half = "" if math.isnan(value.low) else f" ± {value.half_width:.3f}"
            cells.append(Cell(f"{value.mean:.3f}{half}", "best" if arm == "kept" and n == best else ""))
        rows.append(cells)
    for words, what, form in (("validation, kept", "validation", "{:.3f}"), ("CPU s, kept", "cpu_seconds", "{:.0f}")):
        by_n = [_known(list(found.values("kept", n, what).values())) for n in found.layers]
        rows.append([Cell(words), *(Cell(form.format(np.mean(some)) if some else "–") for some in by_n)])
    notes = ["Accuracy on test images; ± is half the 95 % interval over seeds (Student's t). Bold: advised."]
    return Table(["", *(f"n = {n}" for n in found.layers)], rows, notes)


def _known(values: list[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def numbers_of(found: Frozen) -> dict[str, Any]:
    """For scripts."""
    return {
        "depth": found.depth,
        "advised": found.advised(),
        "advice": advice(found),
        "accuracy": {arm: {str(n): list(found.values(arm, n).values()) for n in found.layers} for arm in ARMS},
        "scratch": list(found.values("scratch", 0).values()),
        "failures": found.failures,
    }
