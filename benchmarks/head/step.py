"""Time of one head step against its floor and its peers, all in one interleaved run.

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
    """What is raced, by name; made only when its turn comes."""
    own = candidates.ours
    return {
        "floor": lambda: candidates.floor(case, tile),
        "ours, in place": lambda: own(case),
        "ours, autograd": lambda: own(case, in_place=False),
        "ours, products made twice": lambda: own(case, kept=0),
        "ours, uncompiled": lambda: own(case, compiled=False),
        "ours, sampled 0.1": lambda: own(case, head="sampled"),
        **{f"ours, {name}": (lambda name=name: own(case, name)) for name in FAMILY},
        "pytorch-metric-learning": lambda: candidates.pml(case),
        "naive": lambda: candidates.naive(case),
        "naive, compiled": lambda: candidates.naive(case, compiled=True),
    }


def race(steps: dict[str, candidates.Step], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each step, round by round."""
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
    parser.add_argument("--only", default="", help="parts of names, comma-separated")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    count, classes, size = map(int, chosen.sizes.split(","))
    case = candidates.Case(count, classes, size)
    wanted = [part for part in chosen.only.split(",") if part]
    made = {
        name: make()
        for name, make in contenders(case, max(256, 2**19 // count)).items()
        if not wanted or any(part in name for part in wanted)
    }
    # One thread: CPU time, which other processes on the machine disturb least.
    times = race(made, chosen.rounds, time.process_time if chosen.threads == 1 else time.perf_counter)
    base = statistics.median(times["floor"])
    rows = {
        name: {
            "median_ms": round(1e3 * statistics.median(found), 1),
            "least_ms": round(1e3 * min(found), 1),
            "over_floor": round(statistics.median(found) / base, 2),
            "over_floor_least": round(min(found) / min(times["floor"]), 2),
        }
        for name, found in times.items()
    }
    for name, row in rows.items():
        print(
            f"{name:28s} {row['median_ms']:9.1f} ms  {row['over_floor']:5.2f} x floor  ({row['over_floor_least']:.2f})"
        )
    if chosen.out is not None:
        record = {"sizes": [count, classes, size], "rounds": chosen.rounds, "rows": rows, **environment()}
        chosen.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
