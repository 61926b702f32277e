"""Build the report of a transfer study."""

from __future__ import annotations

import math
from typing import Any

from steradian.metrics import Interval, t_interval
from steradian.models.encoders import EIGHT_LAYER
from steradian.plots import TransferDisplay
from steradian.plots.report import Cell, Figure, Report, Section, Table, facts
from steradian.studies.transferability.result import MOVED, Arm, TransferResult

PUBLISHED: dict[str, tuple[float, ...]] = {
    "BnB": (0.0035, 0.0003, -0.0021, -0.0185, -0.0297, -0.0045, 0.0000),
    "AnB": (0.0031, -0.0012, -0.0062, -0.0253, -0.0471, -0.0445, -0.0826),
    "BnB+": (0.0026, 0.0064, 0.0121, 0.0136, 0.0110, 0.0085, 0.0115),
    "AnB+": (0.0032, 0.0063, 0.0130, 0.0103, 0.0105, 0.0120, 0.0124),
}
"""Paired differences to the base of the same half, n = 1..7, from the released logs of ImageNet halves."""


def display_of(result: TransferResult) -> TransferDisplay:
    """Return the plot of every network of the study."""
    numbers: dict[Arm, tuple[int, ...]] = {"base": (0,), "base x2": (0,), **dict.fromkeys(MOVED, result.layers)}
    return TransferDisplay.from_accuracies(
        {arm: {n: list(result.accuracies(arm, n).values()) for n in layers} for arm, layers in numbers.items()}
    )


def differences(result: TransferResult, to: Arm = "base") -> dict[str, dict[int, Interval]]:
    """Map arm -> layers -> paired difference to the base of the same seed and target half, with its 95 % interval."""
    by_arm: dict[str, dict[int, Interval]] = {}
    for arm in MOVED:
        for n in result.layers:
            values = result.differences(arm, n, to)
            if values:
                by_arm.setdefault(arm, {})[n] = t_interval(values)
    return by_arm


UNDONE = 0.02
"""A base that gains more than this from twice the training had not converged."""


def unfinished(result: TransferResult) -> list[str]:
    """Return a warning if the bases had too few epochs for the differences to show the effect of layers."""
    gains = result.differences("base x2", 0)
    if not gains or t_interval(gains).mean <= UNDONE:
        return []
    return [
        f"The networks had not converged: trained twice as long, a base gains {t_interval(gains).mean:.3f}. Gains of "
        "transferred layers are then mostly their earlier training. Use more --epochs before reading the differences."
    ]


def findings(result: TransferResult) -> list[tuple[str, str]]:
    """Return the published findings, each with the verdict of this study: replicated, not, or too close to tell."""
    by_arm = differences(result)
    claims: list[tuple[str, str]] = []
    dips = {n: value for n, value in by_arm.get("BnB", {}).items() if n in (3, 4, 5)}
    if dips:
        lowest = min(dips, key=lambda n: dips[n].mean)
        claim = "Frozen own layers lose in the middle (co-adaptation): BnB below the base around n = 3..5"
        claims.append((claim, _verdict(dips[lowest], below=True, n=lowest)))
    if "BnB+" in by_arm:
        worst = min(by_arm["BnB+"], key=lambda n: by_arm["BnB+"][n].mean)
        claims.append(("Tuning recovers it: BnB+ is no worse than the base", _no_worse(by_arm["BnB+"][worst], worst)))
    if "AnB" in by_arm:
        last = max(by_arm["AnB"])
        claim = f"Upper layers are specific: AnB falls, at n = {last} below the base"
        claims.append((claim, _verdict(by_arm["AnB"][last], below=True, n=last)))
        if "BnB" in by_arm and last in by_arm["BnB"]:
            a, b = result.accuracies("AnB", last), result.accuracies("BnB", last)
            pairs = t_interval([a[key] - b[key] for key in sorted(a.keys() & b.keys())])
            claims.append((f"AnB is below BnB at n = {last}", _verdict(pairs, below=True, n=last)))
    if "AnB+" in by_arm:
        longer = differences(result, "base x2").get("AnB+", {})
        for reference, values in (("the base", by_arm["AnB+"]), ("a base trained twice as long", longer)):
            if values:
                best = max(values, key=lambda n: values[n].mean)
                claim = f"Moved and tuned layers help: AnB+ above {reference}"
                claims.append((claim, _verdict(values[best], below=False, n=best)))
    return claims


def _described(value: Interval, n: int) -> str:
    interval = "" if math.isnan(value.low) else f", 95 % {value.low:+.4f} to {value.high:+.4f}"
    return f"{value.mean:+.4f} at n = {n}{interval}"


def _verdict(value: Interval, *, below: bool, n: int) -> str:
    if math.isnan(value.low) or not value.excludes_zero:
        return f"too close to tell: {_described(value, n)}"
    verdict = "replicated" if (value.mean < 0) == below else "not replicated, the other way round"
    return f"{verdict}: {_described(value, n)}"


def _no_worse(value: Interval, n: int) -> str:
    worse = value.excludes_zero and value.mean < 0
    return f"{'not replicated' if worse else 'replicated'}: lowest {_described(value, n)}"


def build_report(result: TransferResult) -> Report:
    """Build the report: findings, figure, differences beside the published ones, and provenance."""
    study, origin = result.transfer, result.provenance
    display = display_of(result)
    panels = {"every network": display.plot, "means": display.plot_means}
    caption = (
        "Left: each network. Right: means, from the base. 2: frozen layers have lost the layers they co-adapted with; "
        "3: tuning recovers the loss; 4: layers are specific to the other half; 5: gains of transfer and tuning. "
        "Random layers may fall below the range of the right plot."
    )
    figure = Figure.of(panels, "Accuracy by number of layers moved", caption, width=5.4, height=4.4)
    text = unfinished(result)
    text += [f"{claim}. {verdict[0].upper()}{verdict[1:]}." for claim, verdict in findings(result)]
    text += [f"{name} failed and is left out: {why.splitlines()[0]}" for name, why in result.failures.items()]
    halves = f"half A is {', '.join(study.half)}" if study.half else "random halves of the classes, anew for each seed"
    if study.other is not None:
        halves = f"half A is {study.recipe.data.source}, half B {study.other}"
    size = "all" if study.target_images is None else f"{study.target_images:,}"
    record = {
        "command": origin["command"],
        "date": origin["date"],
        "data": f"{origin['data']['source']}, sha256 {origin['data']['digest'][:16]}…",
        "halves": halves,
        "training images of a target": size,
        "seeds": study.seeds,
        "epochs": study.recipe.training.epochs,
        "encoder": study.recipe.encoder,
        "versions": f"steradian {origin['steradian']}, torch {origin['torch']}, Python {origin['python']}",
    }
    sections = [
        Section("What it says", text),
        Section("Figure", [], [figure]),
        Section("Differences to the base", [], [_table(result)]),
        Section("How it was made", [], [facts(record)]),
    ]
    subtitle = f"{result.classes} classes in two halves, both directions, {study.seeds} seed(s), {halves}"
    return Report(f"Transfer on {origin['data']['source'].rstrip('/').rsplit('/', 1)[-1]}", subtitle, sections)


def _table(result: TransferResult) -> Table:
    by_arm = differences(result)
    rows = []
    for arm, by_layers in by_arm.items():
        values = [_difference(by_layers[n]) if n in by_layers else Cell("–") for n in result.layers]
        rows.append([Cell(arm), *values])
        if arm in PUBLISHED and result.transfer.recipe.encoder == EIGHT_LAYER:
            values = [Cell(f"{PUBLISHED[arm][n - 1]:+.4f}" if 1 <= n <= 7 else "–") for n in result.layers]
            rows.append([Cell(f"{arm}, published"), *values])
    gains = result.differences("base x2", 0)
    notes = [
        "Accuracy minus that of the base of the same target half and seed; ± is half the 95 % interval over halves and "
        "seeds (Student's t). Bold: the interval excludes 0.",
        "Published: paired differences from the released logs of ImageNet halves (Yosinski et al. 2014); the tuned "
        "arms there rest on one or two runs.",
    ]
    notes += [f"The base trained twice as long: {_difference(t_interval(gains)).text}."] if gains else []
    return Table(["", *(f"n = {n}" for n in result.layers)], rows, notes)


def _difference(value: Interval) -> Cell:
    if math.isnan(value.low):
        return Cell(f"{value.mean:+.4f}")
    return Cell(f"{value.mean:+.4f} ± {value.half_width:.4f}", "best" if value.excludes_zero else "")


def numbers_of(result: TransferResult) -> dict[str, Any]:
    """Return accuracies, paired differences with intervals, and findings as plain values."""
    base = list(result.accuracies("base").values())
    return {
        "base": {"mean": sum(base) / len(base), "networks": len(base)} if base else None,
        "differences": {
            arm: {str(n): [value.mean, value.low, value.high] for n, value in by_layers.items()}
            for arm, by_layers in differences(result).items()
        },
        "findings": [{"claim": claim, "here": verdict} for claim, verdict in findings(result)],
        "warnings": unfinished(result),
        "failures": result.failures,
    }
