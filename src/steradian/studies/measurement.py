"""Images as a model sees them: embeddings and what the head says, a block of rows at a time however many classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.data.pixels import PixelSet
from steradian.models.recognizer import Recognizer

TABLE_UP_TO = 50_000_000
"""Probabilities (200 MB) up to which they are kept as a table of all images and classes."""

IMAGES = 4096
"""Images that are copied at a time: all of them may be a file."""

BLOCK = 2**24
"""Probabilities that are made at a time."""


@dataclass(frozen=True)
class Answered:
    """What the head says of N images, of which M = N or fewer are of the C classes that it knows.

    Attributes:
        predictions: int64 [N], the most probable class.
        ranks: int64 [N] of the true class from 0, ties counting against it; -1 for an image of no known class.
        probability: float32 [N] of the prediction; ``of_truth`` [N] of the true class, NaN for no known class.
        squares: float64 [N], sum of squared probabilities.
        cosine, logit: float32 [N], the largest of each.
        set_sizes: coverage -> int64 [N], classes in the set of candidates.
        table: float32 [N, C] probabilities, or None where they would be more than `TABLE_UP_TO`.
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
class Embedded:
    """Images as the model sees them.

    Attributes:
        raw: float32 [N, D] embeddings before normalization.
        labels: int64 [N]; from C on they are classes that the model does not know.
        answers: what the head says.
    """

    raw: NDArray[np.float32]
    labels: NDArray[np.int64]
    answers: Answered

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class, [N]."""
        return self.answers.predictions

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether it is the true one, bool [N]."""
        found: NDArray[np.bool_] = self.answers.predictions == self.labels
        return found

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Measured:
    """Numbers by protocol, and which items each accuracy got right (for paired comparisons).

    Attributes:
        numbers: nested, snake case; NaN where a number does not exist.
        right: "closed.accuracy" and the like -> bool [N].
    """

    numbers: dict[str, Any]
    right: dict[str, NDArray[np.bool_]]


def embed_pixels(model: Recognizer, pixels: PixelSet, chosen: NDArray[np.intp] | None = None) -> Embedded:
    """Embed the images ``chosen``, or all, a block at a time, and ask the head."""
    wanted = chosen if chosen is not None else np.arange(len(pixels))
    blocks = [wanted[start : start + IMAGES] for start in range(0, len(wanted), IMAGES)]
    parts = [model.embed(torch.from_numpy(np.array(pixels.pixels[block])), normalize=False) for block in blocks]
    raw = torch.cat(parts) if parts else torch.zeros(0, model.spec.embedding_size)
    labels = pixels.labels[wanted]
    return Embedded(raw.numpy(), labels, answer(model, raw, labels))


def answer(model: Recognizer, raw: torch.Tensor, labels: NDArray[np.int64]) -> Answered:
    """What the head of ``model`` says of raw embeddings [N, D], a block of rows at a time."""
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
        # The own class reaches its own score: that one is no rival.
        ranks = torch.where(known, (chances >= own).sum(dim=1) - 1, -1)
        found = {
            "predictions": chances.argmax(dim=1),
            "ranks": ranks,
            "probability": chances.amax(dim=1),
            "of_truth": own.squeeze(1).where(known, torch.tensor(torch.nan)),
            "squares": chances.double().square().sum(dim=1),
            "cosine": model.center_cosines(block).amax(dim=1),
            "logit": model.logits(block).amax(dim=1),
        }
        for name, values in found.items():
            columns[name].append(values.numpy())
        for share, bound in quantiles.items():
            sizes[share].append((1.0 - chances <= bound).sum(dim=1).clamp(min=1).numpy())
        if table is not None:
            table[start : start + rows] = chances.numpy()
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Answered(**joined, set_sizes={share: np.concatenate(parts) for share, parts in sizes.items()}, table=table)


_COLUMNS = ("predictions", "ranks", "probability", "of_truth", "squares", "cosine", "logit")


def flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers as (dotted key, value)."""
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
