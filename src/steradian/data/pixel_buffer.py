"""Allocate arrays for decoded images: in memory, or in an unnamed file on disk if memory is short."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steradian.data.catalog import cache_folder
from steradian.errors import DataError
from steradian.files import explained

FOLDER = "pixels"


def half_of_memory() -> int:
    """Return half of the machine's memory in bytes: the default limit for decoded images."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def pixel_buffer(shape: Sequence[int], memory_limit: int | None = None) -> NDArray[np.uint8]:
    """Return an uninitialized uint8 array of ``shape``; above ``memory_limit`` bytes, an unnamed file in the cache.

    The file disappears when the process ends, for whatever reason. Its disk blocks are allocated at once, so that a
    full disk is reported now and not later. The default limit is half of the machine's memory.
    """
    needed = math.prod(shape)
    limit = memory_limit if memory_limit is not None else half_of_memory()
    if needed <= limit:
        return np.empty(shape, dtype=np.uint8)
    folder = cache_folder() / FOLDER
    with explained("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise _no_space(shape, limit, free)
    with explained("write", folder), tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, needed)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _no_space(shape, limit, free) from error
            file.truncate(needed)
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=tuple(shape))


def _no_space(shape: Sequence[int], limit: int, free: int) -> DataError:
    return DataError(
        f"{shape[0]:,} images at {shape[-1]} px need {math.prod(shape) / 2**30:.1f} GiB; {limit / 2**30:.1f} GiB of "
        f"memory may be used, and {free / 2**30:.1f} GiB are free on the disk of {cache_folder()}. Choose a smaller "
        "--image-size, or another disk with STERADIAN_CACHE."
    )


def keep_rows(pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Move ``rows`` (ascending) of ``pixels`` to the front, in place, and return them."""
    for target, row in enumerate(rows.tolist()):
        if target != row:
            pixels[target] = pixels[row]
    return pixels[: len(rows)]
