"""Turn, scale and shift a part of a picture into a square, interpolated once from the original pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steradian.errors import InputError
from steradian.finding.regions import Pixels, Points

Transform = NDArray[np.float64]
"""[2, 3]: p -> A p + t, with A the first two columns."""


def similarity(source: Points, target: Points) -> Transform:
    """Return the rotation, scale and shift that maps ``source`` [P, 2] onto ``target`` [P, 2] in least squares.

    It never mirrors (Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns").

    Raises:
        InputError: the shapes differ, or all points of ``source`` are one.
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(
            f"a similarity transform needs two or more points in two arrays [P, 2], but got shapes {source.shape} and "
            f"{target.shape}."
        )
    from_middle, to_middle = source.mean(axis=0), target.mean(axis=0)
    a, b = source - from_middle, target - to_middle
    spread = float((a**2).sum())
    if spread <= 1e-12:
        raise InputError("all points of a region are at one place, so that it has no direction and no size.")
    # As complex numbers, the best factor is sum(conj(a) b) / sum |a|^2: its length is the scale, its angle the turn.
    real = float((a * b).sum()) / spread
    imaginary = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    matrix = np.array([[real, -imaginary], [imaginary, real]])
    return np.column_stack([matrix, to_middle - matrix @ from_middle])


def of_box(box: tuple[float, float, float, float], size: int) -> Transform:
    """Return the transform that maps the square around ``box``, with its center and longer side, onto ``size`` pixels.

    Raises:
        InputError: the box has no area.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise InputError(f"a box goes from left, top to right, bottom, but this one is {box}.")
    scale = size / max(right - left, bottom - top)
    middle = np.array([(left + right) / 2.0, (top + bottom) / 2.0])
    return np.column_stack([scale * np.eye(2), size / 2.0 - scale * middle])


def warp(pixels: Pixels, transform: Transform, size: int) -> Pixels:
    """Return the square of ``size`` pixels that ``transform`` maps the picture onto, uint8 [size, size] or with 3.

    Where the square shows more than two pixels of the picture in one of its own, means of whole blocks are
    interpolated, so that nothing is skipped. Outside of the picture it is black.
    """
    scale = math.hypot(transform[0, 0], transform[1, 0])
    image = Image.fromarray(pixels)
    blocks = max(1, int(1.0 / scale)) if scale > 0.0 else 1
    inverse = np.linalg.inv(np.vstack([transform, [0.0, 0.0, 1.0]]))[:2]
    if blocks > 1:
        image, inverse = image.reduce(blocks), inverse / blocks
    coefficients = tuple(inverse.ravel().tolist())
    square = image.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(square)
