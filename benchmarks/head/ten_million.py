"""Run real training steps over ten million classes: exact softmax, SGD with momentum, dW never fully in memory.

python benchmarks/head/ten_million.py --out benchmarks/head/ten_million.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from steradian import losses
from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.weight_gradient import FusedUpdate
from steradian.training.progress import Progress
from steradian.training.resources import environment, peak_memory_bytes


def products(weight: torch.Tensor, tile: int, count: int) -> float:
    """Return the seconds of the three matrix products of a step alone."""
    x, dx = torch.randn(count, weight.shape[1]), torch.zeros(count, weight.shape[1])
    start = time.perf_counter()
    for rows in weight.split(tile):
        cosines = x @ rows.T
        dx.addmm_(cosines, rows)
        cosines.T @ x
    return time.perf_counter() - start


def updates(optimizer: RowOptimizer, weight: torch.Tensor, tile: int) -> float:
    """Return the seconds of the optimizer updates of a step alone."""
    gradient = torch.zeros(tile, weight.shape[1])
    start = time.perf_counter()
    optimizer.begin()
    for first in range(0, len(weight), tile):
        optimizer.apply(slice(first, first + tile), gradient[: len(weight) - first])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="64,10000000,128", help="N,C,D")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    count, classes, size = map(int, args.sizes.split(","))
    start = time.perf_counter()
    loss = losses.create("arcface", classes, size, head="tiled")
    assert isinstance(loss, losses.MarginSoftmaxLoss)
    optimizer = RowOptimizer(loss.weight, "sgd", lr=0.1, momentum=0.9)
    loss.engine.reserved = loss.weight.nbytes
    loss.engine.weight_gradient = FusedUpdate(optimizer)
    setup_seconds = time.perf_counter() - start
    print(loss.plan(count))
    seconds, values = [], []
    with Progress(args.steps, "steps") as progress:
        for step in range(args.steps):
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(count, size, generator=generator, requires_grad=True)
            labels = torch.randint(0, classes, (count,), generator=generator)
            start = time.perf_counter()
            value = loss(x, labels)
            value.backward()
            seconds.append(time.perf_counter() - start)
            values.append(float(value.detach()))
            progress.advance(note=f"loss {values[step]:.3f}")
    tile, peak = loss.plan(count).tile, peak_memory_bytes() / 2**30
    record = {
        "sizes": [count, classes, size],
        "plan": str(loss.plan(count)),
        "seconds_to_make": round(setup_seconds, 1),
        "seconds_a_step": [round(value, 2) for value in seconds],
        "losses_on_one_batch": [round(value, 3) for value in values],
        "weight_and_momentum_gib": round(2 * loss.weight.nbytes / 2**30, 2),
        "peak_gib": round(peak, 2),
        "seconds_of_three_products_alone": round(min(products(loss.weight.detach(), tile, count) for _ in "12"), 2),
        "seconds_of_updates_alone": round(min(updates(optimizer, loss.weight, tile) for _ in "12"), 2),
        **environment(),
    }
    print(json.dumps(record, indent=2))
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
