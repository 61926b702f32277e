"""Read decoded images from an .npz file."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.images import DAMAGED_ZIP, ArrayItems, ImageSet, check_different, labeled
from steradian.errors import DataError
from steradian.files import explained

MAX_ARRAY = 16 * 2**30
"""An array of more than 16 GiB inside an .npz is refused before it is read."""


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an .npy: the shape, whether it is in Fortran order, and the dtype."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays x, y and names of an .npz; a header that claims more than `MAX_ARRAY` bytes is an error."""
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        for name in {"x", "y", "names"}.intersection(members):
            with archive.open(f"{name}.npy") as file:
                shape, _, dtype = npy_header(file)
            claimed = math.prod(shape) * dtype.itemsize
            if claimed > MAX_ARRAY:
                raise DataError(f"{path}: {name} claims {claimed:,} bytes; at most {MAX_ARRAY:,} are read.")
            with archive.open(f"{name}.npy") as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no array {missing[0]!r}; it has: {', '.join(members) or 'none'}. "
            "Expected x uint8 [N, H, W] or [N, H, W, 3] and y int [N]."
        )
    return arrays


def open_npz(path: Path) -> ImageSet:
    """Open an .npz with ``x`` uint8 [N, H, W(, 3)], ``y`` int [N], and optionally ``names`` [C]."""
    try:
        with explained("read", path):
            arrays = _npz_arrays(path)
    except (*DAMAGED_ZIP, MemoryError) as error:
        raise DataError(f"{path} is not a readable .npz ({error}).") from error
    x, y = arrays["x"], arrays["y"]
    x = x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x
    if "names" in arrays and arrays["names"].ndim != 1:
        raise DataError(f"{path}: names must be a list [C], but has shape {list(arrays['names'].shape)}.")
    names = [str(name) for name in arrays["names"]] if "names" in arrays else None
    check_different(names or [], f"{path}: names")
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] != 3):
        raise DataError(f"{path}: x must be uint8 [N, H, W] or [N, H, W, 3], but is {x.dtype} {list(x.shape)}.")
    if 0 in x.shape:
        raise DataError(f"{path}: x has shape {list(x.shape)}: it has no images, or they have no pixels.")
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(y) != len(x):
        raise DataError(f"{path}: y must be integers [{len(x)}], one per image, but is {y.dtype} {list(y.shape)}.")
    highest = len(names) - 1 if names else None
    invalid = np.flatnonzero((y < 0) | (y > highest if highest is not None else np.zeros(len(y), dtype=bool)))
    if len(invalid):
        raise DataError(
            f"{path}: y[{invalid[0]}] is {y[invalid[0]]}, but labels run from 0"
            + (f" to {highest} (the number of names)." if highest is not None else ".")
        )
    labels = [names[int(value)] for value in y] if names else [str(value) for value in y]
    return labeled(str(path), ArrayItems(str(path), x), labels, None)
