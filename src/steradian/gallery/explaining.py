"""Show what an answer rests on: the parts of a picture and of the most similar enrolled one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.data.model_input import Pixels
from steradian.errors import DataError, InputError
from steradian.gallery.decision import Match
from steradian.gallery.gallery import Gallery
from steradian.gallery.pictures import decoded
from steradian.models.evidence import evidence

SAME = 0.02
"""By which a cosine of the same picture may differ, decoded once and now."""


@dataclass(frozen=True)
class Explanation:
    """What the similarity of a picture to an enrolled one rests on.

    Attributes:
        cosine: of the two pictures.
        asked: the picture that was asked, uint8 [size, size, 3], clear in the parts that the cosine rests on and gray
            elsewhere, see `evidence.shaded`.
        enrolled: the enrolled picture, likewise; None if it was not kept, or is gone.
    """

    cosine: float
    asked: NDArray[np.uint8]
    enrolled: NDArray[np.uint8] | None


def explain(gallery: Gallery, picture: Pixels, match: Match) -> Explanation:
    """Cover one part after the other of ``picture`` and of the nearest enrolled picture of a match, and compare again.

    Args:
        picture: uint8 [H, W] or [H, W, 3].
        match: of an answer of `Gallery.identify`.

    Raises:
        InputError: the match is a class of the model, which has no picture.
    """
    model = gallery.recognizer
    if match.identity is None:
        raise InputError(f"{match.label!r} is a class of the model and has no picture: use another strategy.")
    asked = model.embed([picture])[0]
    image, cosine = gallery.nearest_image(match.identity, asked)
    try:
        source = gallery.register.image(image).source
        kept = decoded(gallery.pictures.find(source), model.preprocessing.shortest)
        vector = model.embed([kept])[0]
        check_same(float(asked @ vector), cosine)
    except (DataError, OSError):
        stored = gallery.snapshot()
        vector = stored.vectors[np.searchsorted(stored.ids, image)]
        return Explanation(cosine, evidence(model, picture, vector), None)
    return Explanation(cosine, evidence(model, picture, vector), evidence(model, kept, asked))


def check_same(now: float, enrolled: float) -> None:
    """Raise `DataError` if a picture is not the enrolled one any more, by its cosine to another picture."""
    if abs(now - enrolled) > SAME:
        raise DataError("another picture lies in its place by now")
