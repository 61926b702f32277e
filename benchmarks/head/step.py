"""Time one head step against its lower bound (the floor) and its peers, all in one interleaved run.

python benchmarks/head/step.py --sizes 256,81313,512 --threads 1 --rounds 7 --out benchmarks/head/step.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import candidates
import torch

from steradian.training.resources import environment

FAMILY = ("sv-arcface", "focal-arcface", "curricularface", "combined", "hyperspherical")


def contenders(case: candidates.Case, tile: int) -> dict[str, Callable[[], candidates.Step]]:
    """Return a function for each candidate by name that builds its step, so that only the selected ones are built."""
    ours = candidates.ours
    return {
        "floor": lambda: candidates.floor(case, tile),
        "ours, in place": lambda: ours(case),
        "ours, autograd": lambda: ours(case, in_place=False),
        "ours, products made twice": lambda: ours(case, kept=0),
        "ours, uncompiled": lambda: ours(case, compiled=False),
        "ours, sampled 0.1": lambda: ours(case, head="sampled"),
        **{f"ours, {name}": (lambda name=name: ours(case, name)) for name in FAMILY},
        "pytorch-metric-learning": lambda: candidates.pml(case),
        "naive": lambda: candidates.naive(case),
        "naive, compiled": lambda: candidates.naive(case, compiled=True),
    }


def race(steps: dict[str, candidates.Step], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Return the seconds of each step in each round."""
    for step in steps.values():
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = clock()
            step()
            times[name].append(clock() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,81313,512", help="N,C,D")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="substrings of candidate names, comma-separated")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    count, classes, size = map(int, args.sizes.split(","))
    case = candidates.Case(count, classes, size)
    name_parts = [part for part in args.only.split(",") if part]
    steps = {
        name: make()
        for name, make in contenders(case, max(256, 2**19 // count)).items()
        if not name_parts or any(part in name for part in name_parts)
    }
    # With one thread, measure CPU time, which other processes on the machine disturb least.
    times = race(steps, args.rounds, time.process_time if args.threads == 1 else time.perf_counter)
    base = statistics.median(times["floor"])
    rows = {
        name: {
            "median_ms": round(1e3 * statistics.median(values), 1),
            "least_ms": round(1e3 * min(values), 1),
            "over_floor": round(statistics.median(values) / base, 2),
            "over_floor_least": round(min(values) / min(times["floor"]), 2),
        }
        for name, values in times.items()
    }
    for name, row in rows.items():
        print(
            f"{name:28s} {row['median_ms']:9.1f} ms  {row['over_floor']:5.2f} x floor  ({row['over_floor_least']:.2f})"
        )
    if args.out is not None:
        record = {"sizes": [count, classes, size], "rounds": args.rounds, "rows": rows, **environment()}
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
