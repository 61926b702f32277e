"""Batches of decoded images on the device, ready for the encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steradian.data.pixels import PixelSet
from steradian.data.preprocessing import Preprocessing
from steradian.data.progressive import ProgressiveViews
from steradian.data.sampling import balanced_batches, epoch_batches, epoch_length, step_seed, weighted_batches
from steradian.data.views import RandomView
from steradian.models.recognizer import Recognizer
from steradian.training import distributed

RANK_STRIDE = 1_000_003

Indices = NDArray[np.intp]


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
        views_until: share of all steps that use them.
        memory_format: memory format of the returned images.
        images_per_class: K for batches of P classes by K images; None for shuffled batches.
        class_power: class weighting of shuffled batches, see `weighted_batches`.
    """

    pixels: PixelSet
    indices: Indices
    preprocessing: Preprocessing
    batch_size: int
    seed: int
    view: RandomView | ProgressiveViews | None
    views_until: float
    memory_format: torch.memory_format
    device: torch.device
    images_per_class: int | None = None
    class_power: float = 1.0

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return epoch_length(self.pixels.labels[self.indices], self.batch_size, self.images_per_class)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Indices]:
        """Yield the indices of each batch of a shuffled or class-balanced epoch, from batch ``skip`` on."""
        labels = self.pixels.labels[self.indices]
        if self.images_per_class is None and self.class_power == 1.0:
            batches = epoch_batches(len(self.indices), self.batch_size, self.seed, epoch)
        elif self.images_per_class is None:
            batches = weighted_batches(labels, self.batch_size, self.class_power, self.seed, epoch)
        else:
            batches = balanced_batches(labels, self.batch_size, self.images_per_class, self.seed, epoch)
        for batch in batches[skip:]:
            yield self.indices[batch]

    def in_order(self) -> Iterator[Indices]:
        """Yield the indices of all batches in the order of the images."""
        for start in range(0, len(self.indices), self.batch_size):
            yield self.indices[start : start + self.batch_size]

    def images(self, batch: Indices, step: int | None = None) -> Tensor:
        """Return encoder input for ``batch``; with ``step``, random views fixed by seed and step, [V * N, ...]."""
        samples = torch.from_numpy(self.pixels.pixels[batch]).to(self.device).float().div_(255.0)
        if step is not None and self.view is not None:
            # Each process draws views of its own part.
            seed = step_seed(self.seed + RANK_STRIDE * distributed.rank(), step)
            samples = self.view(samples, torch.Generator().manual_seed(seed))
        return self.preprocessing.normalize(samples).contiguous(memory_format=self.memory_format)

    def features(
        self, model: Recognizer, batch: Indices, step: int | None = None, blend: Blend | None = None
    ) -> Tensor:
        """Return the features of `images`, or of their blends, by the encoder of ``model``."""
        images = self.images(batch, step)
        features: Tensor = model.encoder(images if blend is None else blend(images))
        return features

    def views_at(self, step: int | None) -> int:
        """Return the number of views of each image in `images`."""
        return self.view.views if step is not None and isinstance(self.view, ProgressiveViews) else 1

    def labels(self, batch: Indices, step: int | None = None) -> Tensor:
        """Return int64 labels of ``batch``, repeated for all views of `images`."""
        return torch.from_numpy(self.pixels.labels[batch]).to(self.device).repeat(self.views_at(step))
