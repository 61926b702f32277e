"""Compare composed losses with the cheapest hand-written forms: python benchmarks/composed/run.py

One head step (forward, backward to embeddings and centers) at N = 256, C = 10,000, D = 512 in float32. The hand-written
forms fold the scale into the embeddings, divide by the norms of the centers after the product, and replace the target
logit directly. Candidates alternate; the results are medians of the rounds. First each form is checked to give the same
value as ours.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from steradian import losses

HERE = Path(__file__).parent
N, C, D = 256, 10_000, 512
Head = Callable[[Tensor, Tensor, Tensor], Tensor]


def product(x: Tensor, w: Tensor, scale: float) -> Tensor:
    x = x * (scale / torch.linalg.vector_norm(x, dim=1, keepdim=True))
    return functional.linear(x, w) / torch.linalg.vector_norm(w, dim=1)


def arc(target: Tensor, m: float) -> Tensor:
    """Return cos(theta + m), valid for theta + m <= pi, which holds for these data."""
    return target * math.cos(m) - (1.0 - target.square()).clamp(min=1e-7).sqrt() * math.sin(m)


def normface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(product(x, w, 30.0), y)


def cosface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z, idx = product(x, w, 64.0), y[:, None]
    return functional.cross_entropy(z.scatter_add(1, idx, z.new_full(idx.shape, -0.35 * 64.0)), y)


def arcface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z, idx = product(x, w, 64.0), y[:, None]
    return functional.cross_entropy(z.scatter(1, idx, 64.0 * arc(z.gather(1, idx) / 64.0, 0.5)), y)


def focal_arcface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z, idx = product(x, w, 30.0), y[:, None]
    rows = functional.cross_entropy(z.scatter(1, idx, 30.0 * arc(z.gather(1, idx) / 30.0, 0.5)), y, reduction="none")
    return ((1.0 - torch.exp(-rows)) ** 2 * rows).mean()


def sv_softmax(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z, idx = product(x, w, 30.0), y[:, None]
    target = z.gather(1, idx)
    return functional.cross_entropy(torch.where(z > target, 1.2 * z + 0.2 * 30.0, z), y)


def sv_arcface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z, idx = product(x, w, 30.0), y[:, None]
    target = 30.0 * arc(z.gather(1, idx) / 30.0, 0.5)
    return functional.cross_entropy(torch.where(z > target, 1.2 * z + 0.2 * 30.0, z).scatter(1, idx, target), y)


FORMS: dict[str, Head] = {
    "cocoloss": normface,
    "cosface": cosface,
    "arcface": arcface,
    "focal-arcface": focal_arcface,
    "sv-softmax": sv_softmax,
    "sv-arcface": sv_arcface,
}


def step(head: Head, x: Tensor, w: Tensor, y: Tensor) -> tuple[float, Tensor, Tensor]:
    x.grad = w.grad = None
    value = head(x, w, y)
    value.backward()
    return float(value.detach()), x.grad, w.grad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator)
    y = torch.randint(0, C, (N,), generator=generator)
    result = {}
    for name, hand in FORMS.items():
        loss = losses.create(name, C, D)
        weight = loss.weight
        with torch.no_grad():
            x = (torch.nn.functional.normalize(weight[y]) + 0.05 * x).detach()
        x.requires_grad_()
        ours: Head = lambda e, _, labels, loss=loss: loss(e, labels)  # noqa: E731
        actual, expected = step(ours, x, weight, y), step(hand, x, weight, y)
        torch.testing.assert_close(actual[0], expected[0], rtol=1e-4, atol=1e-5)
        seconds: dict[str, list[float]] = {"hand": [], "ours": []}
        for _ in range(args.rounds):
            for who, head in (("hand", hand), ("ours", ours)):
                started = time.perf_counter()
                step(head, x, weight, y)
                seconds[who].append(time.perf_counter() - started)
        ratios = [a / b for a, b in zip(seconds["ours"], seconds["hand"], strict=True)]
        result[name] = {
            "hand_ms": 1e3 * statistics.median(seconds["hand"]),
            "ours_ms": 1e3 * statistics.median(seconds["ours"]),
            "ratio": statistics.median(ratios),
        }
        print(f"{name:14} {result[name]}")
    step_time = {}
    for name in ("cocoloss", "hyperspherical"):
        loss = losses.create(name, C, D)
        plain: Head = lambda e, _, labels, loss=loss: loss(e, labels)  # noqa: E731
        started = time.perf_counter()
        step(plain, x, loss.weight, y)
        step_time[name] = time.perf_counter() - started
    print(f"hyperspherical: {step_time['hyperspherical'] / step_time['cocoloss']:.0f} times cocoloss, one step each")
    record = {"date": date.today().isoformat(), "torch": torch.__version__.split("+")[0], "rounds": args.rounds}
    (HERE / "result.json").write_text(json.dumps({**record, "sizes": [N, C, D], "losses": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
