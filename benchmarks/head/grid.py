"""Check that the plan picks the faster of dense and tiled over a grid of sizes, in one interleaved run.

python benchmarks/head/grid.py --out benchmarks/head/grid.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import candidates
import torch

from steradian import losses
from steradian.training.resources import environment

BATCHES = (16, 64, 256)
CLASSES = (100, 1000, 4000, 10_000)
SIZES = (64, 512)


def seconds(step: candidates.Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for count in BATCHES:
        for classes in CLASSES:
            for size in SIZES:
                case = candidates.Case(count, classes, size)
                picked = losses.create("arcface", classes, size).plan(count).path
                steps = {head: candidates.ours(case, head=head, in_place=False) for head in ("dense", "tiled")}
                for step in steps.values():
                    step()
                times: dict[str, list[float]] = {head: [] for head in steps}
                for _ in range(args.rounds):
                    for head, step in steps.items():
                        times[head].append(seconds(step))
                medians = {head: 1e3 * statistics.median(values) for head, values in times.items()}
                ratio = medians[picked] / min(medians.values())
                rows.append({"n": count, "c": classes, "d": size, "picked": picked, "lost": round(ratio, 3), **medians})
                print(
                    f"{count:5d} x {classes:7,d} x {size:4d}  dense {medians['dense']:8.2f} ms  "
                    f"tiled {medians['tiled']:8.2f} ms  picked {picked:6s} {ratio:5.2f}",
                    flush=True,
                )
    worst = max(row["lost"] for row in rows)
    print(f"worst choice: {worst:.2f} times the faster path")
    if args.out is not None:
        args.out.write_text(json.dumps({"rows": rows, "rounds": args.rounds, **environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
