"""Plan how to compute the logits of a batch, from sizes and free memory, before the first step."""

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
"""Elements of N x C and of C x D up to which the dense path is faster (`benchmarks/head/grid.py`)."""

TILE_BYTES = {"cpu": 2 * 2**20, "cuda": 128 * 2**20}
"""Bytes of the products of a tile: about the L2 cache of a CPU core; on a GPU enough to hide kernel launches."""

VECTOR = 16
"""Numbers that a CPU processes per vector instruction."""

COMPILE_FROM = 2**22
"""Number of products per step above which compiling (seconds, once) pays off."""

SHARE = 0.8
"""Fraction of the free memory that a head may use."""


class Matrices(NamedTuple):
    """Measured peak number of matrices: N x C (products) and C x D (weights) if dense, tiles of products if tiled."""

    products: float = 6.1
    weights: float = 2.0
    tile: float = 8.0


USUAL = Matrices()


@dataclass(frozen=True)
class Sizes:
    """The inputs of a plan.

    Attributes:
        batch: N, rows of the (global) batch.
        classes: number of classes in this process.
        sampled: how many of them a step uses.
        matrices: peak number of matrices that the loss needs.
        held: whether the weight gradient is stored as a matrix (False if the backward pass applies it at once).
        candidates: number of classes whose rows are copied to find hard negatives.
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
        """Number of elements of the N x C * K matrix."""
        return self.batch * self.sampled * self.subcenters

    @property
    def weights(self) -> int:
        """Number of elements of the weight rows that a step uses."""
        return self.sampled * self.subcenters * self.embedding_size

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weight rows that a step uses."""
        return self.weights * self.element_size


@dataclass(frozen=True)
class Plan:
    """How to compute batches of one size.

    Attributes:
        path: "dense" builds the N x C matrix; "tiled" passes over classes.
        tile: classes per tile.
        kept: number of tiles whose products are saved for the backward pass.
        compiled: whether to compile the elementwise part.
        bytes_over: peak memory in addition to embeddings, weight and optimizer state.
        ranks: number of processes that the classes are divided over.
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
        return -(-self.sizes.sampled // self.tile) if self.sizes.sampled else 0

    def __str__(self) -> str:
        sizes = self.sizes
        parts = [self.path if self.path == "dense" else f"tiled, {self.tiles} x {self.tile:,} classes"]
        if sizes.sampled < sizes.classes:
            parts.append(f"{sizes.sampled:,} of {sizes.classes:,} sampled")
        if self.ranks > 1:
            parts.append(f"{sizes.classes:,} classes on each of {self.ranks} processes")
        parts.append(f"{self.bytes_over / 2**20:,.0f} MiB over W")
        if self.path == "tiled":
            if self.kept == 0:
                parts.append("products computed twice")
            elif self.kept < self.tiles:
                parts.append(f"products of {self.tiles - self.kept} tiles computed twice")
            if not sizes.held:
                parts.append("W updated in the backward pass")
            if not self.compiled and sizes.products >= COMPILE_FROM:
                parts.append("uncompiled: no C++ compiler")
        return ", ".join(parts)


def dense_bytes(sizes: Sizes) -> int:
    """Return the peak bytes of the dense path: N x C matrices, or C x D matrices at the end of the backward pass."""
    products = sizes.products * sizes.element_size
    return int(max(sizes.matrices.products * products, sizes.matrices.weights * sizes.weight_bytes + 1.5 * products))


def tiled_bytes(sizes: Sizes, tile: int, kept: int) -> int:
    """Return the peak bytes of the tiled path: saved products, current tiles, gradient and copies of sampled rows."""
    row_bytes = sizes.subcenters * sizes.element_size
    tile_bytes = sizes.batch * tile * row_bytes
    products = min(kept * tile_bytes, sizes.products * sizes.element_size)
    gradient = sizes.weight_bytes if sizes.held else tile * sizes.embedding_size * row_bytes
    # Saved products share the memory of the gradient if they fit (`streaming._SavedProducts`).
    both = gradient if sizes.held and sizes.batch <= sizes.embedding_size else products + gradient
    copies = sizes.weight_bytes if sizes.sampled < sizes.classes else 0
    searched = 2 * sizes.candidates * sizes.embedding_size * row_bytes
    return both + int(sizes.matrices.tile * tile_bytes) + max(copies, searched)


def make_plan(sizes: Sizes, head: str, device: str, ranks: int, free_bytes: int) -> Plan:
    """Return the fastest plan that fits in memory.

    Raises:
        InputError: no plan fits, or not the one that ``head`` requires; the message lists what would fit.
    """
    limit = int(SHARE * free_bytes)
    dense = Plan("dense", sizes, sizes.sampled, 0, False, dense_bytes(sizes), ranks)
    if head == "dense" or (head == "auto" and is_small(sizes.products, sizes.weights)):
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


def is_small(products: int, weights: int) -> bool:
    """Return whether the dense path is faster for this many elements of N x C and of C x D."""
    return products <= DENSE_PRODUCTS and weights <= DENSE_WEIGHTS


def tile_of(sizes: Sizes, device: str) -> int:
    """Return the classes per tile: products fit the cache, in whole vectors, and the last tile is full or tiny.

    A last tile of a different size runs uncompiled.
    """
    row = sizes.batch * sizes.subcenters * sizes.element_size
    cached_classes = TILE_BYTES.get(device, TILE_BYTES["cuda"]) // row
    most = max(1, min(max(256, cached_classes), 32768 if device == "cpu" else cached_classes, sizes.sampled))
    tiles = -(-sizes.sampled // most)
    return most if tiles < 2 else sizes.sampled // tiles // VECTOR * VECTOR


def smaller(plan: Plan) -> Plan | None:
    """Return the next plan to try when memory runs out: nothing saved, then tiles of a quarter; None at the end."""
    tile = plan.tile if plan.kept else plan.tile // 4
    if tile < 16:
        return None
    return replace(plan, tile=tile, kept=0, bytes_over=tiled_bytes(plan.sizes, tile, 0))


def _does_not_fit(plan: Plan, limit: int) -> InputError:
    sizes = plan.sizes
    advice = ["more free memory"]
    if plan.path == "dense":
        advice.append("head='auto'")
    else:
        rate = next((rate for rate in RATES if _fits(_sampled(sizes, rate), limit)), None)
        ranks = next((ranks for ranks in RANKS if _fits(_divided(sizes, ranks), limit)), None)
        batch = next(
            (count for count in BATCHES if count < sizes.batch and _fits(replace(sizes, batch=count), limit)), None
        )
        advice += [f"batches of {batch}"] if batch is not None else []
        advice += [f"head='sampled' with sample_rate={rate:g}"] if rate is not None else []
        advice += [f"head='sharded' over {ranks} machines like this"] if ranks is not None else []
        advice.append("a smaller embedding")
    return InputError(
        f"The classifier head for {sizes.classes:,} classes in {sizes.embedding_size} dimensions and batches of "
        f"{sizes.batch} needs {plan.bytes_over / 2**20:,.0f} MiB beside its weight ({plan.path}), but "
        f"only {limit / 2**20:,.0f} MiB may be used. Use one of: {', or '.join(advice)}."
    )


RATES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
RANKS = (2, 4, 8, 16, 32, 64, 128)
BATCHES = (4096, 2048, 1024, 512, 256, 128, 64, 32)


def _sampled(sizes: Sizes, rate: float) -> Sizes:
    return replace(sizes, sampled=min(sizes.classes, max(sizes.batch, int(rate * sizes.classes))))


def _divided(sizes: Sizes, ranks: int) -> Sizes:
    local_classes = -(-sizes.classes // ranks)
    return replace(sizes, classes=local_classes, sampled=min(local_classes, -(-sizes.sampled // ranks)))


def _fits(sizes: Sizes, limit: int) -> bool:
    return tiled_bytes(sizes, tile_of(sizes, "cpu"), 0) <= limit


def has_compiler(device: str) -> bool:
    """Return whether torch.compile can generate code for ``device``."""
    if device == "cuda":
        return True
    return any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++"))


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process can still use: of the GPU, or its share of the machine or container."""
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
