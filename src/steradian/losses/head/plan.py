"""How a batch meets the classes: decided from sizes and memory before the first step, said in one line."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from steradian.errors import InputError

Path_ = Literal["dense", "tiled"]
HEADS = ("auto", "dense", "tiled", "sampled", "sharded")

DENSE_UP_TO = 2**19
"""Products up to which the whole N x C matrix is the faster way (`benchmarks/head`)."""

TILE_BYTES = {"cpu": 2 * 2**20, "cuda": 128 * 2**20}
"""Products of a tile: about the second-level cache of a core; on a GPU what keeps launches from counting."""

COMPILE_FROM = 2**22
"""Products of a step from which on a compilation (seconds, once) pays."""

SHARE = 0.8
"""Of the free memory that a head may take."""


@dataclass(frozen=True)
class Sizes:
    """What a plan is made from.

    Attributes:
        batch: N, rows of the (global) batch.
        classes: classes that this process holds.
        sampled: of those, how many a step sees.
        matrices: N x C arrays that the dense way holds at its peak.
        weights: C x D arrays that the dense way holds at its peak.
        held: whether the gradient of the weight is a matrix of its own (not so when it is applied in the pass).
    """

    batch: int
    classes: int
    sampled: int
    subcenters: int
    embedding_size: int
    element_size: int = 4
    matrices: float = 6.1
    weights: float = 2.0
    held: bool = True

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

    path: Path_
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
    return int(max(sizes.matrices * products, sizes.weights * sizes.weight_bytes + 1.5 * products))


def tiled_bytes(sizes: Sizes, tile: int, kept: int) -> int:
    """Peak of the tiled way: kept products, tiles at work, the gradient, and copies of sampled rows."""
    row_bytes = sizes.subcenters * sizes.element_size
    tile_bytes = sizes.batch * tile * row_bytes
    gradient = sizes.weight_bytes if sizes.held else tile * sizes.embedding_size * row_bytes
    copies = sizes.weight_bytes if sizes.sampled < sizes.classes else 0
    return min(kept * tile_bytes, sizes.products * sizes.element_size) + TILES_AT_WORK * tile_bytes + gradient + copies


TILES_AT_WORK = 8
"""Tiles that an uncompiled step holds at once beside the kept ones; a compiled one holds three."""


def make_plan(sizes: Sizes, head: str, device: str, ranks: int, free_bytes: int) -> Plan:
    """The fastest way that fits.

    Raises:
        InputError: nothing fits, or the way that ``head`` asks for does not; says what would.
    """
    limit = int(SHARE * free_bytes)
    dense = Plan("dense", sizes, sizes.sampled, 0, False, dense_bytes(sizes), ranks)
    if head == "dense" or (head == "auto" and sizes.products <= DENSE_UP_TO):
        if dense.bytes_over <= limit:
            return dense
        if head == "dense":
            raise _does_not_fit(dense, limit)
    tile = tile_of(sizes, device)
    tiles = -(-sizes.sampled // tile) if sizes.sampled else 0
    compiled = sizes.products >= COMPILE_FROM and has_compiler(device)
    least = tiled_bytes(sizes, tile, 0)
    a_tile = tiled_bytes(sizes, tile, 1) - least
    kept = min(tiles, max(0, (limit - least) // a_tile)) if a_tile else 0
    plan = Plan("tiled", sizes, tile, kept, compiled, tiled_bytes(sizes, tile, kept), ranks)
    if plan.bytes_over > limit:
        raise _does_not_fit(plan, limit)
    return plan


def tile_of(sizes: Sizes, device: str) -> int:
    """Classes at a time: products that fit the cache, in whole vectors."""
    row = sizes.batch * sizes.subcenters * sizes.element_size
    wanted = TILE_BYTES.get(device, TILE_BYTES["cuda"]) // row
    return max(1, min(max(256, wanted), 32768 if device == "cpu" else wanted, sizes.sampled or 1))


def smaller(plan: Plan) -> Plan | None:
    """The next plan to try when memory ran out: nothing kept, then tiles of a quarter; None when it is the last."""
    if plan.path == "dense" or plan.kept:
        tile = tile_of(plan.sizes, "cpu")
        return replace(plan, path="tiled", tile=tile, kept=0, bytes_over=tiled_bytes(plan.sizes, tile, 0))
    if plan.tile <= 64:
        return None
    tile = plan.tile // 4
    return replace(plan, tile=tile, bytes_over=tiled_bytes(plan.sizes, tile, 0))


def _does_not_fit(plan: Plan, limit: int) -> InputError:
    sizes = plan.sizes
    advice = ["Free memory"]
    if plan.path == "dense":
        advice.append("leave head='auto'")
    else:
        advice.append("take a smaller batch or embedding")
        share = max(0.001, round(0.5 * limit * sizes.sampled / (plan.bytes_over * sizes.classes), 3))
        advice.append(f"head='sampled' with sample_rate={share:g}")
        ranks = -(-2 * plan.bytes_over * plan.ranks // max(1, limit))
        advice.append(f"head='sharded' on {ranks} processes of such memory")
    return InputError(
        f"The classifier head for {sizes.classes:,} classes in {sizes.embedding_size} dimensions and batches of "
        f"{sizes.batch} needs {plan.bytes_over / 2**20:,.0f} MiB beside its weight ({plan.path}), but "
        f"{limit / 2**20:,.0f} MiB may be used. {', or '.join(advice)}."
    )


def has_compiler(device: str) -> bool:
    """Whether torch.compile can make code for ``device``."""
    if device == "cuda":
        return True
    return any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++"))


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had, on the GPU or in the machine (half of its memory where that is unknown)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
