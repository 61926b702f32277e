"""Batches of images on the device, ready for the encoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steradian.data.loading.reader import Loaded, Request, Views
from steradian.data.loading.stream import StreamedPixels
from steradian.data.pixels import PixelSet
from steradian.data.preprocessing import Preprocessing
from steradian.data.progressive import ProgressiveViews
from steradian.data.sampling import balanced_batches, epoch_batches, epoch_length, step_seed, weighted_batches
from steradian.data.views import RandomView
from steradian.models.recognizer import Recognizer
from steradian.training import distributed
from steradian.training.activations import in_parts
from steradian.training.sharded_encoder import in_step, is_sharded

RANK_STRIDE = 1_000_003

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Batch:
    """The images of a step that this process embeds.

    Attributes:
        rows: which images of the set.
        count: number of images over all processes.
        step: seeds the random views; None: the images as they are.
        loaded: what worker processes have read of a streamed set; None where the set is decoded.
    """

    rows: Indices
    count: int
    step: int | None = None
    loaded: Loaded | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Blend:
    """Blend each image with its partner of the batch (mixup, Zhang et al. 2018); its own weight is ``share``."""

    share: float
    partner: Tensor

    @classmethod
    def drawn(cls, alpha: float, count: int, seed: int) -> Blend:
        """Draw a share from Beta(alpha, alpha) and a random partner for each of ``count`` images."""
        generator = np.random.default_rng([seed, 3])
        return cls(float(generator.beta(alpha, alpha)), torch.from_numpy(generator.permutation(count)))

    def __call__(self, samples: Tensor) -> Tensor:
        """Return the blends of ``samples`` [N, ...]."""
        return self.share * samples + (1.0 - self.share) * samples[self.partner.to(samples.device)]


@dataclass(frozen=True)
class Patch(Blend):
    """Paste a box of another image of the batch (CutMix, Yun et al. 2019); ``share`` is the area outside the box."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def cut(cls, alpha: float, count: int, side: int, seed: int) -> Patch:
        """Draw a box in images of ``side`` pixels: the area share from Beta(alpha, alpha), the center uniformly."""
        generator = np.random.default_rng([seed, 4])
        edge = side * math.sqrt(1.0 - generator.beta(alpha, alpha))
        middle = generator.uniform(0.0, side, size=2)
        low = np.clip(np.round(middle - edge / 2), 0, side).astype(int).tolist()
        high = np.clip(np.round(middle + edge / 2), 0, side).astype(int).tolist()
        share = 1.0 - (high[0] - low[0]) * (high[1] - low[1]) / side**2
        partner = torch.from_numpy(generator.permutation(count))
        return cls(share, partner, (low[0], high[0]), (low[1], high[1]))

    def __call__(self, samples: Tensor) -> Tensor:
        """Return ``samples`` [N, channels, side, side] with the boxes pasted in."""
        pasted = samples.clone()
        others = samples[self.partner.to(samples.device)]
        box = (slice(None), slice(None), slice(*self.rows), slice(*self.columns))
        pasted[box] = others[box]
        return pasted


@dataclass(frozen=True)
class Batches:
    """The images at ``indices`` of ``pixels``, in batches.

    Attributes:
        view: random views of training batches, or None.
        view_steps: number of first steps of the training that use them.
        memory_format: memory format of the returned images.
        images_per_class: K for batches of P classes by K images; None for shuffled batches.
        class_power: class weighting of shuffled batches, see `weighted_batches`.
        crop: smallest area of a random crop of a streamed original, as a share of it; 1: no crop.
        at_once: images that pass through the encoder together while it learns (see `activations.in_parts`); None: all.
    """

    pixels: PixelSet
    indices: Indices
    preprocessing: Preprocessing
    batch_size: int
    seed: int
    view: RandomView | ProgressiveViews | None
    view_steps: int
    memory_format: torch.memory_format
    device: torch.device
    images_per_class: int | None = None
    class_power: float = 1.0
    crop: float = 1.0
    at_once: int | None = None

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return epoch_length(self.pixels.labels[self.indices], self.batch_size, self.images_per_class)

    def epoch(self, epoch: int, skip: int = 0, views: bool = True) -> Iterator[Batch]:
        """Yield this process's part of each batch of a shuffled or class-balanced epoch, from batch ``skip`` on.

        Their steps are counted from the first epoch on; with ``views`` false they have none, and so no random views.
        """
        drawn = self._drawn(epoch)
        before, begins = epoch * len(drawn), np.cumsum([0, *map(len, drawn)])
        batches, positions = [], []
        for number in range(skip, len(drawn)):
            part = distributed.part_of(drawn[number])
            step = before + number
            with_views = views and step < self.view_steps and self.view is not None
            rows = self.indices[drawn[number][part]]
            batches.append(Batch(rows, len(drawn[number]), step if with_views else None))
            positions.append(begins[number] + np.arange(len(drawn[number]))[part])
        return self._read(batches, positions, epoch)

    def in_order(self, whole: bool = False) -> Iterator[Batch]:
        """Yield all batches in the order of the images: this process's part of each, or with ``whole`` all of it."""
        batches = []
        for start in range(0, len(self.indices), self.batch_size):
            rows = self.indices[start : start + self.batch_size]
            part = slice(None) if whole else distributed.part_of(rows)
            batches.append(Batch(rows[part], len(rows)))
        return self._read(batches)

    def _drawn(self, epoch: int) -> list[Indices]:
        """Return the positions in ``indices`` of each batch of an epoch."""
        if self.images_per_class is None and self.class_power == 1.0:
            return epoch_batches(len(self.indices), self.batch_size, self.seed, epoch)
        labels = self.pixels.labels[self.indices]
        if self.images_per_class is None:
            return weighted_batches(labels, self.batch_size, self.class_power, self.seed, epoch)
        return balanced_batches(labels, self.batch_size, self.images_per_class, self.seed, epoch)

    def _read(
        self, batches: list[Batch], positions: list[NDArray[np.int64]] | None = None, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield the batches; those of a streamed set with what was read, and without damaged images."""
        pixels = self.pixels.pixels
        if not isinstance(pixels, StreamedPixels):
            yield from batches
            return
        views = Views(self.view, self.crop, self.seed, epoch)

        def requests() -> Iterable[Request]:
            for number, batch in enumerate(batches):
                if batch.step is None:
                    yield pixels.request(batch.rows)
                else:
                    yield pixels.request(batch.rows, positions[number] if positions else None, views)

        for batch, loaded in zip(batches, pixels.pool.read(requests()), strict=True):
            yield replace(batch, rows=batch.rows[loaded.kept], loaded=loaded)

    def images(self, batch: Batch) -> Tensor:
        """Return encoder input for a batch, [V * N, ...]: random views, fixed by seed and step, if it has a step."""
        if batch.loaded is not None:
            read = batch.loaded.samples.to(self.device, non_blocking=True).float().div_(255.0)
            return self.preprocessing.normalize(read).contiguous(memory_format=self.memory_format)
        samples = torch.from_numpy(self.pixels.pixels[batch.rows]).to(self.device).float().div_(255.0)
        if batch.step is not None and self.view is not None:
            # Each process draws views of its own part.
            seed = step_seed(self.seed + RANK_STRIDE * distributed.rank(), batch.step)
            samples = self.view(samples, torch.Generator().manual_seed(seed))
        return self.preprocessing.normalize(samples).contiguous(memory_format=self.memory_format)

    def inputs(self, batch: Batch, blend: Blend | None = None) -> Tensor:
        """Return what `encode` takes: `images`, or blends of them."""
        images = self.images(batch)
        return images if blend is None else blend(images)

    def encode(self, model: Recognizer, inputs: Tensor) -> Tensor:
        """Return the features of ``inputs`` by the encoder of ``model``, `at_once` images at a time."""
        if is_sharded(model.encoder):
            return in_step(model.encoder, inputs, self.at_once)
        return in_parts(model.encoder, inputs, self.at_once)

    def none(self, model: Recognizer) -> Tensor:
        """Return raw embeddings [0, D], for a process without images; of a divided encoder it computes its part."""
        embeddings = model.head.weight.new_zeros(0, model.spec.embedding_size)
        if not is_sharded(model.encoder):
            return embeddings
        shape = self.preprocessing
        no_images = embeddings.new_zeros(0, shape.channels, shape.size, shape.size)
        return embeddings + self.encode(model, no_images).sum()

    def views_of(self, batch: Batch) -> int:
        """Return the number of views of each image in `images`."""
        return self.view.views if batch.step is not None and isinstance(self.view, ProgressiveViews) else 1

    def labels(self, batch: Batch) -> Tensor:
        """Return int64 labels of a batch, repeated for all views of `images`."""
        return torch.from_numpy(self.pixels.labels[batch.rows]).to(self.device).repeat(self.views_of(batch))
