"""A head divided over processes (gloo): the same loss and gradients as in one, and its memory in each.

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
    """The whole batch, the same in every process."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, size, generator=generator), torch.randint(0, classes, (count,), generator=generator)


def head(name: str, classes: int, size: int) -> losses.MarginSoftmaxLoss:
    torch.manual_seed(0)
    loss = losses.create("arcface", classes, size, head=name)
    assert isinstance(loss, losses.MarginSoftmaxLoss)
    return loss


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def here(count: int, classes: int, size: int) -> None:
    """This process's share; prints one line of JSON."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    x, labels = batch(count, size, classes)
    own = slice(rank * count // ranks, (rank + 1) * count // ranks)
    loss, own_x = head("sharded", classes, size), x[own].clone().requires_grad_()
    for _ in range(2):
        # The second time: compilation and its memory are over.
        loss.weight.grad = own_x.grad = None
        before = resident()
        reset_peak_memory()
        value = loss(own_x, labels[own])
        value.backward()
        over = peak_memory_bytes() - before
    assert loss.weight.grad is not None and own_x.grad is not None
    whole, all_x = head("tiled", classes, size), x.clone().requires_grad_()
    expected = whole(all_x, labels)
    expected.backward()
    assert whole.weight.grad is not None and all_x.grad is not None
    found = {
        "rank": rank,
        "weight_mib": round(loss.weight.nbytes / 2**20, 1),
        "step_mib": round(over / 2**20, 1),
        "loss": abs(float(value.detach() / expected.detach()) - 1.0),
        "embeddings": relative(own_x.grad, all_x.grad[own]),
        "weight": relative(loss.weight.grad, whole.weight.grad[loss.engine.rows]),
    }
    print(json.dumps(found), flush=True)
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,81313,512", help="N,C,D")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if "RANK" in os.environ:
        here(*map(int, chosen.sizes.split(",")))
        return
    live = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    rows = {}
    for ranks in (1, 2):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        command = [*launch, __file__, "--sizes", chosen.sizes]
        said = subprocess.run(command, env=live, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows[ranks] = sorted((json.loads(line) for line in said.splitlines()), key=lambda row: row["rank"])
        for row in rows[ranks]:
            print(f"{ranks} processes", row)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps({"sizes": chosen.sizes, "processes": rows, **environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
