"""How a batch meets the classes: decided from sizes and memory before the first step, said in one line."""

from __future__ import annotations

import bisect
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from steradian.errors import InputError

Way = Literal["dense", "tiled"]
HEADS = ("auto", "dense", "tiled", "sampled", "sharded")

DENSE_PRODUCTS, DENSE_WEIGHTS = 3 * 2**19, 15 * 2**17
"""Elements of N x C and of C x D up to which the whole matrix is the faster way (`benchmarks/head/grid.py`)."""

TILE_BYTES = {"cpu": 2 * 2**20, "cuda": 128 * 2**20}
"""Products of a tile: about the second-level cache of a core; on a GPU what keeps launches from counting."""

VECTOR = 16
"""Numbers that a processor takes at a time."""

COMPILE_FROM = 2**22
"""Products of a step from which on a compilation (seconds, once) pays."""

SHARE = 0.8
"""Of the free memory that a head may take."""


class Matrices(NamedTuple):
    """How many a loss holds at its peak, as measured: N x C and C x D ones the dense way, of a tile the tiled way."""

    products: float = 6.1
    weights: float = 2.0
    tile: float = 8.0


USUAL = Matrices()


@dataclass(frozen=True)
class Sizes:
    """What a plan is made from.

    Attributes:
        batch: N, rows of the (global) batch.
        classes: classes that this process holds.
        sampled: of those, how many a step sees.
        matrices: what the loss holds at once.
        held: whether the gradient of the weight is a matrix of its own (not so when it is applied in the pass).
        candidates: classes whose rows are copied to find hard ones.
    """

    batch: int
    classes: int
    sampled: int
    subcenters: int
    embedding_size: int
    element_size: int = 4
    matrices: Matrices = USUAL
    held: bool = True
    candidates: int = 0

    @property
    def products(self) -> int:
        """Elements of the whole N x C * K matrix."""
        return self.batch * self.sampled * self.subcenters

    @property
    def weight_bytes(self) -> int:
        """Of the rows of the weight that a step sees."""
        return self.sampled * self.subcenters * self.embedding_size * self.element_size


@dataclass(frozen=True)
class Plan:
    """The way of one batch size.

    Attributes:
        path: "dense" builds the N x C matrix; "tiled" passes over classes.
        tile: classes at a time.
        kept: tiles whose products are kept for the backward pass.
        compiled: whether the elementwise part is worth compiling.
        bytes_over: peak memory over embeddings, weight and optimizer state.
        ranks: processes that the classes are divided over.
    """

    path: Way
    sizes: Sizes
    tile: int
    kept: int
    compiled: bool
    bytes_over: int
    ranks: int = 1

    @property
    def tiles(self) -> int:
        """Tiles in all."""
        return -(-self.sizes.sampled // self.tile) if self.sizes.sampled else 0

    def __str__(self) -> str:
        sizes = self.sizes
        words = [self.path if self.path == "dense" else f"tiled, {self.tiles} x {self.tile:,} classes"]
        if sizes.sampled < sizes.classes:
            words.append(f"{sizes.sampled:,} of {sizes.classes:,} sampled")
        if self.ranks > 1:
            words.append(f"{sizes.classes:,} classes on each of {self.ranks} processes")
        words.append(f"{self.bytes_over / 2**20:,.0f} MiB over W")
        if self.path == "tiled":
            if self.kept == 0:
                words.append("products made twice")
            elif self.kept < self.tiles:
                words.append(f"products of {self.tiles - self.kept} tiles made twice")
            if not sizes.held:
                words.append("W updated in the pass")
            if not self.compiled and sizes.products >= COMPILE_FROM:
                words.append("uncompiled: no C++ compiler")
        return ", ".join(words)


def dense_bytes(sizes: Sizes) -> int:
    """Peak of the dense way: N x C matrices in the forward pass, or C x D matrices at the end of the backward pass."""
    products = sizes.products * sizes.element_size
    return int(max(sizes.matrices.products * products, sizes.matrices.weights * sizes.weight_bytes + 1.5 * products))


def tiled_bytes(sizes: Sizes, tile: int, kept: int) -> int:
    """Peak of the tiled way: kept products, tiles at work, the gradient, and copies of sampled rows."""
    row_bytes = sizes.subcenters * sizes.element_size
    tile_bytes = sizes.batch * tile * row_bytes
    products = min(kept * tile_bytes, sizes.products * sizes.element_size)
    gradient = sizes.weight_bytes if sizes.held else tile * sizes.embedding_size * row_bytes
    # Kept products lie where the gradient will be, where they fit (`streaming._Kept`).
    both = gradient if sizes.held and sizes.batch <= sizes.embedding_size else products + gradient
    copies = sizes.weight_bytes if sizes.sampled < sizes.classes else 0
    searched = 2 * sizes.candidates * sizes.embedding_size * row_bytes
    return both + int(sizes.matrices.tile * tile_bytes) + max(copies, searched)


def make_plan(sizes: Sizes, head: str, device: str, ranks: int, free_bytes: int) -> Plan:
    """The fastest way that fits.

    Raises:
        InputError: nothing fits, or the way that ``head`` asks for does not; says what would.
    """
    limit = int(SHARE * free_bytes)
    dense = Plan("dense", sizes, sizes.sampled, 0, False, dense_bytes(sizes), ranks)
    if head == "dense" or (head == "auto" and _is_small(sizes)):
        if dense.bytes_over <= limit:
            return dense
        if head == "dense":
            raise _does_not_fit(dense, limit)
    tile = tile_of(sizes, device)
    tiles = -(-sizes.sampled // tile) if sizes.sampled else 0
    compiled = sizes.products >= COMPILE_FROM and has_compiler(device)
    kept = bisect.bisect_right(range(1, tiles + 1), limit, key=lambda count: tiled_bytes(sizes, tile, count))
    plan = Plan("tiled", sizes, tile, kept, compiled, tiled_bytes(sizes, tile, kept), ranks)
    if plan.bytes_over > limit:
        raise _does_not_fit(plan, limit)
    return plan


def _is_small(sizes: Sizes) -> bool:
    weights = sizes.sampled * sizes.subcenters * sizes.embedding_size
    return sizes.products <= DENSE_PRODUCTS and weights <= DENSE_WEIGHTS


def _least_bytes(sizes: Sizes, device: str) -> int:
    """Of the tiled way with nothing kept."""
    return tiled_bytes(sizes, tile_of(sizes, device), 0)


def tile_of(sizes: Sizes, device: str) -> int:
    """Classes at a time: products that fit the cache, in whole vectors, with next to nothing left for a last tile.

    A last tile of its own size would run uncompiled.
    """
    row = sizes.batch * sizes.subcenters * sizes.element_size
    wanted = TILE_BYTES.get(device, TILE_BYTES["cuda"]) // row
    most = max(1, min(max(256, wanted), 32768 if device == "cpu" else wanted, sizes.sampled))
    tiles = -(-sizes.sampled // most)
    return most if tiles < 2 else sizes.sampled // tiles // VECTOR * VECTOR


def smaller(plan: Plan) -> Plan | None:
    """The next tiled plan to try when memory ran out: nothing kept, then tiles of a quarter; None after the last."""
    tile = plan.tile if plan.kept else plan.tile // 4
    if tile < 16:
        return None
    return replace(plan, tile=tile, kept=0, bytes_over=tiled_bytes(plan.sizes, tile, 0))


def _does_not_fit(plan: Plan, limit: int) -> InputError:
    sizes = plan.sizes
    advice = ["free memory"]
    if plan.path == "dense":
        advice.append("leave head='auto'")
    else:
        rate = next((rate for rate in RATES if _least_bytes(_sampled(sizes, rate), "cpu") <= limit), None)
        ranks = next((ranks for ranks in RANKS if _least_bytes(_divided(sizes, ranks), "cpu") <= limit), None)
        batch = next((count for count in BATCHES if count < sizes.batch and _fits(sizes, count, limit)), None)
        advice += [f"take batches of {batch}"] if batch is not None else []
        advice += [f"head='sampled' with sample_rate={rate:g}"] if rate is not None else []
        advice += [f"head='sharded' over {ranks} machines like this"] if ranks is not None else []
        advice.append("a smaller embedding")
    return InputError(
        f"The classifier head for {sizes.classes:,} classes in {sizes.embedding_size} dimensions and batches of "
        f"{sizes.batch} needs {plan.bytes_over / 2**20:,.0f} MiB beside its weight ({plan.path}), but "
        f"{limit / 2**20:,.0f} MiB may be used. What would do: {', or '.join(advice)}."
    )


RATES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
RANKS = (2, 4, 8, 16, 32, 64, 128)
BATCHES = (4096, 2048, 1024, 512, 256, 128, 64, 32)


def _sampled(sizes: Sizes, rate: float) -> Sizes:
    return replace(sizes, sampled=min(sizes.classes, max(sizes.batch, int(rate * sizes.classes))))


def _divided(sizes: Sizes, ranks: int) -> Sizes:
    here = -(-sizes.classes // ranks)
    return replace(sizes, classes=here, sampled=min(here, -(-sizes.sampled // ranks)))


def _fits(sizes: Sizes, batch: int, limit: int) -> bool:
    return _least_bytes(replace(sizes, batch=batch), "cpu") <= limit


def has_compiler(device: str) -> bool:
    """Whether torch.compile can make code for ``device``."""
    if device == "cuda":
        return True
    return any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++"))


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still have: of the GPU, or its share of the machine or container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    meminfo, limit, used = (Path(p) for p in ("/proc/meminfo", *CGROUP))
    if meminfo.is_file():
        lines = meminfo.read_text().splitlines()
        free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")] or free
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        free.append(int(most) - int(used.read_text()))
    return max(0, min(free)) // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
