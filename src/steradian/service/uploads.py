"""Decode uploaded files to pixels; report each unreadable file without failing the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException, UploadFile
from numpy.typing import NDArray

from steradian.data.decode import opened
from steradian.data.model_input import draft, pixels_of
from steradian.data.preprocessing import Preprocessing
from steradian.errors import DataError
from steradian.service.answers import Failure
from steradian.service.limits import Limits, PixelBudget

LONGEST = 200
"""Maximum characters of a file name in an answer."""


@dataclass(frozen=True)
class Upload:
    """One file as uploaded."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Decoded:
    """The readable uploads: names [N] and pixels uint8 [N, channels, size, size]; and the unreadable ones."""

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    failures: tuple[Failure, ...]


async def read(files: Sequence[UploadFile], limits: Limits) -> list[Upload]:
    """Read the content of ``files``. Raises `HTTPException` if there are too many."""
    if len(files) > limits.files:
        raise HTTPException(413, f"{len(files)} files came; at most {limits.files} are allowed per request.")
    return [
        Upload(_shown_name(file.filename) or f"image {index}", await file.read())
        for index, file in enumerate(files, start=1)
    ]


def _shown_name(name: str | None) -> str:
    return (name or "")[:LONGEST].encode("utf-8", "backslashreplace").decode()


def decoded(
    uploads: Sequence[Upload],
    preprocessing: Preprocessing,
    most_pixels: int,
    budget: PixelBudget,
    given_up: Callable[[], bool],
) -> Decoded:
    """Decode ``uploads`` one after another within the ``budget``, until ``given_up`` returns True."""
    names, squares, failures = [], [], []
    for upload in uploads:
        if given_up():
            break
        try:
            with opened(upload.content, most_pixels) as image:
                draft(image, 2 * preprocessing.shortest, 2 * preprocessing.shortest)
                with budget.of(image.width * image.height):
                    pixels = pixels_of(image)
                    # Before the square is made, which takes as much memory again.
                    image.close()
                    squares.append(preprocessing.square(pixels))
            names.append(upload.name)
        except DataError as error:
            failures.append(Failure(image=upload.name, reason=str(error)))
    shape = (0, preprocessing.channels, preprocessing.size, preprocessing.size)
    pixels = np.stack(squares) if squares else np.zeros(shape, np.uint8)
    return Decoded(tuple(names), pixels, tuple(failures))
