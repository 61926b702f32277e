"""Measure the peak memory of one head step, beyond embeddings and weight, with each candidate in its own process.

python benchmarks/head/memory.py --sizes 256,81313,512 --out benchmarks/head/memory.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import candidates
import torch

from steradian.training.resources import environment, peak_memory_bytes, reset_peak_memory

MAKERS = {
    "ours, products kept": lambda case: candidates.ours(case, in_place=False),
    "ours, products made twice": lambda case: candidates.ours(case, in_place=False, kept=0),
    "ours, uncompiled": lambda case: candidates.ours(case, in_place=False, compiled=False),
    "pytorch-metric-learning": candidates.pml,
    "naive": candidates.naive,
    "naive, compiled": lambda case: candidates.naive(case, compiled=True),
}


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def step_bytes(name: str, sizes: tuple[int, int, int]) -> int:
    """Return the bytes of a second step: compilation is done, and the gradients of the first step are freed."""
    torch.set_num_threads(1)
    count, classes, size = sizes
    case = candidates.Case(count, classes, size)
    step = MAKERS[name](case)
    step()
    step.clear()
    before = resident()
    reset_peak_memory()
    step()
    return peak_memory_bytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,81313,512", help="N,C,D")
    parser.add_argument("--one", help="measure this candidate in this process")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    sizes = tuple(map(int, args.sizes.split(",")))
    if args.one is not None:
        print(step_bytes(args.one, sizes))  # type: ignore[arg-type]
        return
    # Return freed memory to the system at once, so that the peak counts only memory in use.
    env_vars = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    rows = {}
    for name in MAKERS:
        command = [sys.executable, "-W", "ignore", __file__, "--sizes", args.sizes, "--one", name]
        output = subprocess.run(command, env=env_vars, capture_output=True, text=True, check=True).stdout
        rows[name] = round(int(output.split()[-1]) / 2**20, 1)
    for name, mebibytes in rows.items():
        print(f"{name:28s} {mebibytes:9.1f} MiB  {mebibytes / rows['pytorch-metric-learning']:.2f} of the peer")
    if args.out is not None:
        args.out.write_text(json.dumps({"sizes": sizes, "mebibytes": rows, **environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
