"""Decide whether the images of a set are decoded once, before the first step, or read anew whenever they are needed."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from steradian.data.cores import available_cores
from steradian.data.images import ArrayItems, ImageSet
from steradian.data.loading.stream import AHEAD
from steradian.data.preprocessing import Preprocessing

DECODED_GIB = 4.0
"""Sets whose squares take more than this, or than a quarter of the memory, are not decoded at once."""

MOST_WORKERS = 16
SHARED = Path("/dev/shm")
GIB = 2**30


@dataclass(frozen=True)
class ReadingPlan:
    """How the images of a set are read.

    Attributes:
        streams: whether they are read when they are needed, and not decoded once.
        workers: number of processes that read; 0: the main process.
        why: the decision, its reason and its cost, in a sentence.
    """

    streams: bool
    workers: int
    why: str


@dataclass(frozen=True)
class ReadingSettings:
    """What a recipe says of reading.

    Attributes:
        decoded_gib: most memory for decoded squares; None: `DECODED_GIB`, and at most a quarter of the memory.
        workers: number of processes that read; None: chosen.
        crops: whether training crops are cut from the originals.
        copies: number of rotations of each image.
        batch_images: largest number of images, views included, in a batch.
    """

    decoded_gib: float | None = None
    workers: int | None = None
    crops: bool = False
    copies: int = 1
    batch_images: int = 64


def reading_plan(images: ImageSet, shape: Preprocessing, settings: ReadingSettings | None = None) -> ReadingPlan:
    """Decide how ``images`` are read as squares of ``shape``."""
    settings = settings if settings is not None else ReadingSettings()
    needed = len(images) * settings.copies * shape.channels * shape.size**2
    budget = int(settings.decoded_gib * GIB) if settings.decoded_gib is not None else default_budget()
    size = f"{len(images) * settings.copies:,} images of {shape.size} px"
    from_originals = settings.crops and not _squares(images, shape)
    if needed <= budget and not from_originals:
        return ReadingPlan(False, 0, f"decoded once, before the first step: {size} take {_gib(needed)}")
    workers, note = _workers(shape, settings)
    by = f"{workers} process{'es' * (workers != 1)}" if workers else "the main process"
    reason = (
        "random crops come from the original pictures"
        if from_originals
        else f"decoded, {size} would take {_gib(needed)}, more than the {_gib(budget)} of data.decoded_gib"
    )
    return ReadingPlan(True, workers, f"read from their files in every epoch, by {by}, because {reason}{note}")


def default_budget() -> int:
    """Return the most bytes that decoded squares may take by default."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(int(DECODED_GIB * GIB), memory // 4)


def _squares(images: ImageSet, shape: Preprocessing) -> bool:
    """Return whether the originals are decoded squares of that size already, so that a crop gains no pixels."""
    return isinstance(images.items, ArrayItems) and images.items.array.shape[1:3] == (shape.size, shape.size)


def _workers(shape: Preprocessing, settings: ReadingSettings) -> tuple[int, str]:
    """Return the number of processes, and a clause where it is not the number that was asked for."""
    cores = available_cores()
    # An encoder on the CPU needs the cores itself; one on a GPU leaves them to the readers.
    chosen = min(cores, MOST_WORKERS) if torch.cuda.is_available() else max(1, cores // 2)
    asked = settings.workers if settings.workers is not None else chosen
    a_batch = settings.batch_images * shape.channels * shape.size**2
    free = shutil.disk_usage(SHARED).free if SHARED.is_dir() else math.inf
    possible = int(free / 2 // ((AHEAD + 1) * a_batch))
    if asked <= possible:
        return asked, ""
    return possible, (
        f" ({possible} instead of {asked} processes: each keeps {AHEAD + 1} batches of {a_batch / 1e6:.0f} MB in "
        f"shared memory, of which {_gib(int(free))} are free; a smaller --batch-size needs less)"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= 0.1 * GIB else f"{max(size / 1e6, 0.1):.1f} MB"
