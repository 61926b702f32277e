"""Print the tables of README.md from result.json. `run.py` prints them at its end, too.

    python benchmarks/landmarks/tables.py

A difference is "better" or "worse" where its 95 % interval over the seeds holds no zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layout import ARRANGEMENTS, SEEDS

from steradian.metrics import t_interval

Rows = list[dict[str, Any]]
NUMBERS = ("gap", "gap_known", "top1")
ANSWERED = ("untrained", "adapted", "arcface", "system D")
LOSSES = ("arcface", "arcface, 3 centers", "dynamic", "dynamic, 3 centers")


def values(rows: Rows, kind: str, arm: str, *keys: str) -> list[float]:
    """Return a number of an arm for each seed."""
    found: list[float] = []
    for seed in SEEDS:
        (row,) = [one for one in rows if (one["kind"], one["seed"], one["arm"]) == (kind, seed, arm)]
        value: Any = row["private"]
        for key in keys:
            value = value[key]
        found.append(value)
    return found


def mean(numbers: Sequence[float], sign: str = "") -> str:
    """Return the mean and half its 95 % interval over the seeds."""
    interval = t_interval(numbers)
    return f"{interval.mean:{sign}.3f} ± {interval.half_width:.3f}"


def difference(numbers: Sequence[float], others: Sequence[float]) -> str:
    """Return the mean of the paired differences with its interval, and what it says."""
    differences = [number - other for number, other in zip(numbers, others, strict=True)]
    interval = t_interval(differences)
    word = "too close to tell"
    if abs(interval.mean) > interval.half_width:
        word = "better" if interval.mean > 0 else "worse"
    return f"{mean(differences, '+')} {word}"


def print_line(cells: Sequence[str]) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(cells) + " |")


def print_header(cells: Sequence[str]) -> None:
    """Print the head of a table."""
    print()
    print_line(cells)
    print("|---" * len(cells) + "|")


def print_ways(rows: Rows, kind: str) -> None:
    """Print how well each model answers by each way."""
    print_header([kind, "answer by", "GAP", "GAP without strangers", "top-1, micro F1", "GAP, minus nearest"])
    for arm in ANSWERED:
        for way in ("nearest", "vote", "mean", "centers"):
            if (arm, way) != ("untrained", "centers"):
                numbers = [values(rows, kind, arm, way, number) for number in NUMBERS]
                than = difference(numbers[0], values(rows, kind, arm, "nearest", "gap")) if way != "nearest" else ""
                print_line([arm, way, *map(mean, numbers), than])


def print_losses(rows: Rows, kind: str) -> None:
    """Print each loss, and what it gains over plain ArcFace."""
    head = [f"{text}, by {way}" for way in ("centers", "mean") for text in ("GAP", "minus arcface", "top-1", "minus")]
    print_header([kind, *head])
    for arm in (*LOSSES, "adapted"):
        cells = [arm]
        for way in ("centers", "mean"):
            for number in ("gap", "top1"):
                own, plain = values(rows, kind, arm, way, number), values(rows, kind, "arcface", way, number)
                cells += [mean(own), difference(own, plain) if arm != "arcface" else ""]
        print_line(cells)


def print_tables(rows: Rows) -> None:
    """Print all tables."""
    for kind in ARRANGEMENTS:
        print_ways(rows, kind)
    for kind in ARRANGEMENTS:
        print_losses(rows, kind)
    print_header(["", "minus untrained, GAP by mean", "top-1 by mean"])
    for kind in ARRANGEMENTS:
        for arm in (*LOSSES, "adapted", "system D"):
            pairs = [[values(rows, kind, one, "mean", number) for one in (arm, "untrained")] for number in NUMBERS]
            print_line([f"{kind}, {arm}", difference(*pairs[0]), difference(*pairs[2])])
    print_header(["", "promised", "strangers with a name", "known named right"])
    for kind in ARRANGEMENTS:
        for arm in ("untrained", "adapted", "arcface"):
            for rate in ("0.01", "0.1"):
                shares = [values(rows, kind, arm, f"strangers {rate}", key) for key in ("named", "right")]
                print_line([f"{kind}, {arm}", rate, *map(mean, shares)])
    print()
    for row in rows:
        if "public_gap" in row:
            print(f"{row['kind']}, {row['arm']}: {row['options']}, public GAP {row['public_gap']:.3f}")


if __name__ == "__main__":
    print_tables(json.loads((Path(__file__).parent / "result.json").read_text())["rows"])
