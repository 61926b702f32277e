"""Compute embeddings and head outputs of images in blocks, for any number of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.data.pixels import PixelSet, Progress, no_progress, with_known_first
from steradian.errors import InputError
from steradian.models.image_batch import images_at_once
from steradian.models.recognizer import Recognizer
from steradian.training.adapted import EncoderFeatures
from steradian.training.dataset import TrainingData

TABLE_UP_TO = 50_000_000
"""Largest number of probabilities (200 MB) stored as a table of all images and classes."""

IMAGES = 4096
"""Images copied at a time; the pixels may be a memory-mapped file."""

BLOCK = 2**24
"""Probabilities computed at a time."""


@dataclass(frozen=True)
class HeadOutputs:
    """Head outputs for N images, some of which may not belong to the C classes that it knows.

    Attributes:
        predictions: int64 [N], the most probable class.
        ranks: int64 [N] of the true class from 0, with ties counted against it; -1 if the class is unknown.
        probability: float32 [N] of the prediction; ``of_truth`` [N] of the true class, NaN if it is unknown.
        squares: float64 [N], sum of squared probabilities.
        cosine, logit: float32 [N], the largest of each.
        set_sizes: coverage -> int64 [N], number of classes in the prediction set.
        table: float32 [N, C] probabilities, or None if there are more than `TABLE_UP_TO`.
    """

    predictions: NDArray[np.int64]
    ranks: NDArray[np.int64]
    probability: NDArray[np.float32]
    of_truth: NDArray[np.float32]
    squares: NDArray[np.float64]
    cosine: NDArray[np.float32]
    logit: NDArray[np.float32]
    set_sizes: dict[str, NDArray[np.int64]]
    table: NDArray[np.float32] | None


@dataclass(frozen=True)
class EmbeddingSet:
    """Images, and what the model makes of them.

    Attributes:
        raw: float32 [N, D] embeddings before normalization.
        labels: int64 [N]; labels of C and above are classes that the model does not know.
        outputs: what the head says.
        pixels: the set that the images belong to, for pictures; None where they are not at hand.
        indices: [N], which images of ``pixels`` they are.
    """

    raw: NDArray[np.float32]
    labels: NDArray[np.int64]
    outputs: HeadOutputs
    pixels: PixelSet | None = None
    indices: NDArray[np.intp] | None = None

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class, [N]."""
        return self.outputs.predictions

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one, bool [N]."""
        right: NDArray[np.bool_] = self.outputs.predictions == self.labels
        return right

    @property
    def names(self) -> list[str]:
        """The name of each image."""
        if self.pixels is None or self.indices is None:
            return [str(index) for index in range(len(self))]
        return [self.pixels.names[index] for index in self.indices]

    def images(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the decoded images at ``rows``. Raises `InputError` where they are not at hand."""
        if self.pixels is None or self.indices is None:
            raise InputError("these embeddings came without their images.")
        images: NDArray[np.uint8] = self.pixels.pixels[self.indices[list(rows)]]
        return images

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class EvaluationInputs:
    """The embeddings that all protocols of one evaluation are functions of.

    Attributes:
        classes: class names in label order; the model knows the first C.
        num_classes: C.
        known: images of known classes, or None.
        unknown: images of other classes, or None.
        reference: training images, or None.
        seed: seed of k-means and of the choice of enrolled images.
    """

    classes: tuple[str, ...]
    num_classes: int
    known: EmbeddingSet | None
    unknown: EmbeddingSet | None = None
    reference: EmbeddingSet | None = None
    seed: int = 0

    @property
    def images(self) -> EmbeddingSet:
        """Images of known classes; all images where there are none of those."""
        images = self.known if self.known is not None else self.unknown
        if images is None:
            raise InputError("there are no images to measure on.")
        return images


@dataclass(frozen=True)
class Metrics:
    """Metrics by protocol, and the items that each accuracy counts as correct (for paired comparisons).

    Attributes:
        numbers: nested, with snake-case keys; NaN where a metric is undefined.
        right: "closed.accuracy" and the like -> bool [N].
    """

    numbers: dict[str, Any]
    right: dict[str, NDArray[np.bool_]]


def embed_pixels(
    model: Recognizer,
    pixels: PixelSet,
    indices: NDArray[np.intp] | None = None,
    features: EncoderFeatures | None = None,
    progress: Progress = no_progress,
) -> EmbeddingSet:
    """Embed the images at ``indices``, or all, a block at a time, and ask the head.

    ``features`` of the model's encoder are used instead of the images where they are given. Images that cannot be
    decoded are left out.
    """
    chosen = indices if indices is not None else np.arange(len(pixels))
    at_once = IMAGES if features is not None else 8 * images_at_once(model.preprocessing.size)
    parts, kept = [torch.zeros(0, model.spec.embedding_size)], [np.zeros(0, dtype=np.intp)]
    if features is not None:
        chosen = chosen[features.has(chosen)]
        starts = range(0, len(chosen), at_once)
        for start in progress(starts, len(starts), "measuring"):
            kept.append(chosen[start : start + at_once])
            parts.append(model.embed_features(torch.from_numpy(features.of(kept[-1]))))
    else:
        for block, images in pixels.blocks(chosen, at_once, progress, "measuring"):
            kept.append(block)
            parts.append(model.raw_embeddings(torch.from_numpy(np.array(images))))
    raw, readable = torch.cat(parts), np.concatenate(kept)
    labels = pixels.labels[readable]
    return EmbeddingSet(raw.numpy(), labels, head_outputs(model, raw, labels), pixels, readable)


def run_inputs(
    model: Recognizer, data: TrainingData, features: EncoderFeatures | None = None, progress: Progress = no_progress
) -> EvaluationInputs:
    """Embed the test part of the data that a model was trained on, images of unseen classes, and its training part."""
    parts = data.splits.test, data.splits.train
    model.accelerate_for(
        (len(data.unseen) if data.unseen is not None else 0) + (0 if features else sum(map(len, parts)))
    )
    pixels, classes, unknown = data.pixels, data.pixels.classes, None
    if data.unseen is not None:
        others = with_known_first(data.unseen, pixels.classes)
        classes = others.classes
        unknown = embed_pixels(model, others, progress=progress)
    known, reference = (embed_pixels(model, pixels, part, features, progress) for part in parts)
    return EvaluationInputs(classes, len(pixels.classes), known, unknown, reference)


def head_outputs(model: Recognizer, raw: torch.Tensor, labels: NDArray[np.int64]) -> HeadOutputs:
    """Return what the head of ``model`` says of raw embeddings [N, D], a block of rows at a time."""
    classes, count = len(model.spec.classes), len(labels)
    quantiles = model.calibration.coverage_quantiles if model.calibration is not None else {}
    table = np.empty((count, classes), dtype=np.float32) if count * classes <= TABLE_UP_TO else None
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    sizes: dict[str, list[NDArray[np.int64]]] = {share: [] for share in quantiles}
    rows = max(1, BLOCK // classes)
    for start in range(0, max(count, 1), rows):
        block, truth = raw[start : start + rows], torch.from_numpy(labels[start : start + rows])
        chances = model.probabilities(block)
        known = truth < classes
        own = chances.gather(1, truth.where(known, torch.zeros_like(truth))[:, None])
        # The true class always reaches its own probability, so it is not counted.
        ranks = torch.where(known, (chances >= own).sum(dim=1) - 1, -1)
        values = {
            "predictions": chances.argmax(dim=1),
            "ranks": ranks,
            "probability": chances.amax(dim=1),
            "of_truth": own.squeeze(1).where(known, torch.tensor(torch.nan)),
            "squares": chances.double().square().sum(dim=1),
            "cosine": model.center_cosines(block).amax(dim=1),
            "logit": model.logits(block).amax(dim=1),
        }
        for name, column in values.items():
            columns[name].append(column.numpy())
        for share, bound in quantiles.items():
            sizes[share].append((1.0 - chances <= bound).sum(dim=1).clamp(min=1).numpy())
        if table is not None:
            table[start : start + rows] = chances.numpy()
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return HeadOutputs(
        **joined, set_sizes={share: np.concatenate(parts) for share, parts in sizes.items()}, table=table
    )


_COLUMNS = ("predictions", "ranks", "probability", "of_truth", "squares", "cosine", "logit")


def flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested numbers as (dotted key, value)."""
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
