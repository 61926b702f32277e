"""Pictures that are nearly the same: other sizes, other compression, mirrored, a moment later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.data.images import ImageSet
from steradian.data.pixels import PixelSet, Progress, load_for, no_progress
from steradian.data.preprocessing import Preprocessing
from steradian.errors import UsageError
from steradian.metrics.neighbors import nearest_neighbors
from steradian.models.encoders import build_encoder
from steradian.models.pretrained import PACKAGED, has_package, is_model, load_pretrained, taught
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import fast_encoder

SIZE = 160
NEAR = 0.95
"""Cosine from which pictures are near copies.

With the packaged encoder most mirrored and brightened copies of photographs reach it and less than half of those that
are compressed to a quality of 40; copies cut to four fifths or halved in size mostly do not. From .9 on, different
clothes of one kind come in.
"""

NEIGHBORS = 4


@dataclass(frozen=True)
class NearCopies:
    """Pairs of images, the nearest first.

    Attributes:
        pixels: the images as they were embedded; ``first`` and ``second`` are places in it.
        first, second: int64 [P].
        cosine: float [P], similarity of each pair.
        leaks, confused: how many pairs stand in two parts, and in two classes.
    """

    pixels: PixelSet
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosine: NDArray[np.float32]
    leaks: int
    confused: int

    def __len__(self) -> int:
        return len(self.first)

    def as_list(self) -> list[dict[str, str | float]]:
        """Plain values for JSON."""
        names = self.pixels.names
        pairs = zip(self.first.tolist(), self.second.tolist(), self.cosine.tolist(), strict=True)
        return [{"a": names[a], "b": names[b], "cosine": cosine} for a, b, cosine in pairs]

    def sentences(self) -> list[str]:
        """What was found, in words."""
        if len(self) == 0:
            return ["No two images are nearly the same."]
        names = [self.pixels.names[int(place)] for place in (self.first[0], self.second[0])]
        found = [f"{len(self)} pairs of images are nearly the same, such as {names[0]!r} and {names[1]!r}."]
        if self.leaks:
            found.append(f"{self.leaks} of the pairs stand in two parts: what was trained on would be measured on.")
        if self.confused:
            found.append(f"{self.confused} of the pairs stand in two classes at once: one of the labels may be wrong.")
        return found


def near_copies(
    images: ImageSet, origin: str = "package", *, nearness: float = NEAR, progress: Progress = no_progress
) -> NearCopies:
    """Pairs of images whose embeddings have a cosine of at least ``nearness``; exact copies are among them.

    Each image is held against its `NEIGHBORS` nearest ones.

    Args:
        origin: "package" (the installed weights) or a run or model folder.

    Raises:
        UsageError: no such weights.
        DataError: see `load_pixels`.
    """
    pixels, vectors = _embedded(images, origin, progress)
    found = nearest_neighbors(vectors, vectors, min(NEIGHBORS + 1, len(vectors)))
    first = np.repeat(np.arange(len(vectors)), found.place.shape[1])
    second, cosine = found.place.ravel(), found.cosine.ravel()
    # Of two directions one; an image is no neighbor of itself.
    low, high = np.minimum(first, second), np.maximum(first, second)
    near = np.flatnonzero((low < high) & (cosine >= nearness))
    _, unique = np.unique(low[near] * len(vectors) + high[near], return_index=True)
    kept = near[unique]
    kept = kept[np.argsort(-cosine[kept], kind="stable")]
    low, high = low[kept], high[kept]
    parts, labels = pixels.splits, pixels.labels
    leaks = 0 if parts is None else int((parts[low] != parts[high]).sum())
    return NearCopies(pixels, low, high, cosine[kept], leaks, int((labels[low] != labels[high]).sum()))


def _embedded(images: ImageSet, origin: str, progress: Progress) -> tuple[PixelSet, NDArray[np.float32]]:
    if origin == "package":
        if not has_package():
            raise UsageError(
                "Near copies are found by an encoder: pip install 'steradian[weights]', or name a run or model folder."
            )
        known = taught(PACKAGED, "package")
        shape = Preprocessing(SIZE, known.channels, known.mean, known.std, known.crop, known.interpolation)
    elif is_model(origin):
        model = Recognizer.load(origin)
        shape = model.spec.preprocessing
    else:
        raise UsageError(
            f"There is no model {origin!r} to find near copies by: name a run or model folder, or 'package'."
        )
    pixels = load_for(images, shape, progress)
    if origin != "package":
        model.accelerate_for(len(pixels))
        return pixels, model.embed(torch.from_numpy(pixels.pixels)).numpy()
    encoder, _ = build_encoder(PACKAGED, channels=shape.channels, size=shape.size)
    load_pretrained(encoder, PACKAGED, "package")
    encode = fast_encoder(encoder.eval(), shape, "auto")
    starts = progress(range(0, len(pixels), 64), -(-len(pixels) // 64), "embedding")
    found = [encode(torch.from_numpy(pixels.pixels[start : start + 64])).numpy() for start in starts]
    return pixels, np.concatenate(found)
