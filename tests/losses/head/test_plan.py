"""The plan: the fastest way that fits, its memory as measured, and advice that is true when nothing fits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from steradian import losses
from steradian.errors import InputError
from steradian.losses.head import engine as engines
from steradian.losses.head.plan import Sizes, dense_bytes, make_plan, smaller, tiled_bytes

GIB = 2**30
FACES = Sizes(batch=256, classes=81_313, sampled=81_313, subcenters=1, embedding_size=512)


def test_small_problems_are_dense_and_large_ones_tiled() -> None:
    small = Sizes(64, 1000, 1000, 1, 64)
    assert make_plan(small, "auto", "cpu", 1, 8 * GIB).path == "dense"
    assert make_plan(small, "tiled", "cpu", 1, 8 * GIB).path == "tiled"
    plan = make_plan(FACES, "auto", "cpu", 1, 8 * GIB)
    assert (plan.path, plan.tile, plan.kept) == ("tiled", 2032, 41)
    assert str(plan).startswith("tiled, 41 x 2,032 classes, ")
    assert make_plan(FACES, "auto", "cuda", 1, 8 * GIB).tile >= 32_768


def test_less_memory_keeps_fewer_products_and_then_asks_for_less() -> None:
    # Products cost nothing where they fit into the memory of the gradient.
    assert make_plan(FACES, "auto", "cpu", 1, int(0.2145 * GIB)).kept == 41
    narrow = replace(FACES, embedding_size=255)
    kept = [make_plan(narrow, "auto", "cpu", 1, int(share * GIB)).kept for share in (8.0, 0.165, 0.117)]
    assert kept[0] == 41 > kept[1] > kept[2] == 0
    with pytest.raises(
        InputError, match="needs .* MiB beside its weight .*free memory, or .* or a smaller embedding"
    ) as found:
        make_plan(FACES, "auto", "cpu", 1, GIB // 8)
    rate = float(re.search(r"sample_rate=([\d.]+)", str(found.value))[1])
    ranks = int(re.search(r"over (\d+) machines", str(found.value))[1])
    few = replace(FACES, sampled=int(rate * FACES.classes))
    assert make_plan(few, "sampled", "cpu", 1, GIB // 8).bytes_over < GIB // 8
    share = replace(FACES, classes=FACES.classes // ranks + 1, sampled=FACES.classes // ranks + 1)
    assert make_plan(share, "sharded", "cpu", ranks, GIB // 8).bytes_over < GIB // 8
    with pytest.raises(InputError, match="memory, or head='auto'"):
        make_plan(FACES, "dense", "cpu", 1, GIB // 8)


def test_the_plan_of_a_loss_names_sampling_and_updates() -> None:
    loss = losses.create("arcface", 100_000, 32, head="sampled", sample_rate=0.05)
    assert "5,000 of 100,000 sampled" in str(loss.plan(64))
    assert loss.plan(64) is loss.plan(64)


# Freed memory goes back at once, so that what is measured is what is in use.
LIVE = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}

PEAK = """
import os, sys, torch, torch._dynamo
from dataclasses import replace
from pathlib import Path
from steradian import losses
from steradian.losses.head.plan import tiled_bytes
from steradian.training.resources import peak_memory_bytes, reset_peak_memory

torch.set_num_threads(1)

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

def measure(name, head, kept):
    count, classes, size = 128, 80_000, 256
    loss = losses.create(name, classes, size, head=head)
    plan = loss.plan(count)
    if kept != "all":
        plan = replace(plan, kept=int(kept), bytes_over=tiled_bytes(plan.sizes, plan.tile, int(kept)))
    plan = replace(plan, compiled=False)
    loss.engine.plan = lambda *_: plan
    x, y = torch.randn(count, size, requires_grad=True), torch.randint(0, classes, (count,))
    few = losses.create(name, 8, size, head=head)
    few(torch.randn(4, size), torch.tensor([0, 1, 2, 3])).backward()
    reset_peak_memory()
    before = resident()
    loss(x, y).backward()
    print(name, head, kept, peak_memory_bytes() - before, plan.bytes_over, flush=True)

for case in sys.argv[1:]:
    # Each in a process of its own, with the imports of this one.
    if os.fork() == 0:
        measure(*case.split())
        break
    os.wait()
"""
CASES = [
    ("arcface", "dense", "all"),
    ("softmax", "dense", "all"),
    ("curricularface", "dense", "all"),
    ("arcface", "tiled", "all"),
    ("arcface", "tiled", "0"),
    ("curricularface", "tiled", "all"),
    ("arcface", "sampled", "all"),
]


@pytest.fixture(scope="module")
def peaks() -> tuple[dict[tuple[str, ...], list[int]], str]:
    """By case, the measured peak and the planned one, in bytes; and what was said of those that failed."""
    command = [sys.executable, "-W", "ignore", "-c", PEAK, *map(" ".join, CASES)]
    found = subprocess.run(command, capture_output=True, text=True, env=LIVE)
    lines = [line.split() for line in found.stdout.splitlines()]
    return {tuple(line[:3]): list(map(int, line[3:])) for line in lines}, found.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(("name", "head", "kept"), CASES)
def test_the_memory_formula_is_the_measured_peak(
    name: str, head: str, kept: str, peaks: tuple[dict[tuple[str, ...], list[int]], str]
) -> None:
    found, errors = peaks
    assert (name, head, kept) in found, errors
    measured, planned = found[name, head, kept]
    assert measured == pytest.approx(planned, rel=0.2), (measured / 2**20, planned / 2**20)


def test_out_of_memory_is_caught_and_planned_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = losses.create("arcface", 500, 8, head="tiled")
    wanted = losses.create("arcface", 500, 8, head="dense")
    wanted.load_state_dict(loss.state_dict())
    real, calls = engines.Classes.stream, []

    def short(self, how, x, rows):
        calls.append(how.kept)
        if how.kept:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(self, how, x, rows)

    monkeypatch.setattr(engines.Classes, "stream", short)
    x, y = torch.randn(4, 8), torch.arange(4)
    with pytest.warns(RuntimeWarning, match="Out of memory .*; continuing with: tiled, .* products computed twice"):
        value = loss(x, y)
    torch.testing.assert_close(value, wanted(x, y))
    torch.testing.assert_close(loss(x, y), wanted(x, y))
    assert calls == [1, 0, 0]


def test_what_is_no_lack_of_memory_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = losses.create("arcface", 500, 8, head="tiled")

    def wrong(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(engines.Classes, "stream", wrong)
    with pytest.raises(RuntimeError, match="something else"):
        loss(torch.randn(4, 8), torch.arange(4))


def test_plans_get_smaller_until_they_cannot() -> None:
    plan = make_plan(FACES, "auto", "cpu", 1, 8 * GIB)
    seen = []
    while plan is not None:
        seen.append(plan)
        plan = smaller(plan)
    assert [p.bytes_over for p in seen] == sorted((p.bytes_over for p in seen), reverse=True)
    assert seen[-1].tile <= 64
    assert dense_bytes(FACES) > tiled_bytes(FACES, 2048, 40)
