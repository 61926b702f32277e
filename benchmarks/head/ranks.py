"""Compare a head divided over processes (gloo) with one process: loss, gradients, and memory in each process.

python benchmarks/head/ranks.py --out benchmarks/head/ranks.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from memory import resident
from torch import Tensor, distributed

from steradian import losses
from steradian.training.resources import environment, peak_memory_bytes, reset_peak_memory


def batch(count: int, size: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return the global batch, the same in every process."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, size, generator=generator), torch.randint(0, classes, (count,), generator=generator)


def head(name: str, classes: int, size: int) -> losses.MarginSoftmaxLoss:
    torch.manual_seed(0)
    loss = losses.create("arcface", classes, size, head=name)
    assert isinstance(loss, losses.MarginSoftmaxLoss)
    return loss


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def run_rank(count: int, classes: int, size: int) -> None:
    """Run the shard of this process and print one line of JSON."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    x, labels = batch(count, size, classes)
    rows = slice(rank * count // world_size, (rank + 1) * count // world_size)
    loss, shard_x = head("sharded", classes, size), x[rows].clone().requires_grad_()
    for _ in range(2):
        # Keep the second measurement: compilation and its memory are done.
        loss.weight.grad = shard_x.grad = None
        before = resident()
        reset_peak_memory()
        value = loss(shard_x, labels[rows])
        value.backward()
        step_bytes = peak_memory_bytes() - before
    assert loss.weight.grad is not None and shard_x.grad is not None
    reference, all_x = head("tiled", classes, size), x.clone().requires_grad_()
    expected = reference(all_x, labels)
    expected.backward()
    assert reference.weight.grad is not None and all_x.grad is not None
    result = {
        "rank": rank,
        "weight_mib": round(loss.weight.nbytes / 2**20, 1),
        "step_mib": round(step_bytes / 2**20, 1),
        "loss": abs(float(value.detach() / expected.detach()) - 1.0),
        "embeddings": relative_error(shard_x.grad, all_x.grad[rows]),
        "weight": relative_error(loss.weight.grad, reference.weight.grad[loss.engine.rows]),
    }
    print(json.dumps(result), flush=True)
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,81313,512", help="N,C,D")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if "RANK" in os.environ:
        run_rank(*map(int, args.sizes.split(",")))
        return
    env_vars = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    rows = {}
    for ranks in (1, 2):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        command = [*launch, __file__, "--sizes", args.sizes]
        output = subprocess.run(command, env=env_vars, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows[ranks] = sorted((json.loads(line) for line in output.splitlines()), key=lambda row: row["rank"])
        for row in rows[ranks]:
            print(f"{ranks} processes", row)
    if args.out is not None:
        args.out.write_text(json.dumps({"sizes": args.sizes, "processes": rows, **environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
