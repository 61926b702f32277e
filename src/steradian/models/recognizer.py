"""Recognizer = encoder + neck + head in one module with one ``parameters()`` and one artifact."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from steradian.data.decode import Pixels, decode, pixels_of
from steradian.data.preprocessing import Preprocessing
from steradian.errors import DataError, InputError
from steradian.losses import OneVersusRest
from steradian.losses.head.dense import unit_rows
from steradian.models.encoders import build_encoder, build_neck
from steradian.models.heads import Head, as_head, build_head

if TYPE_CHECKING:
    from steradian.models.artifact import ModelCard

Images = Tensor | Sequence["str | Path | Image.Image | np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a recognizer, without its weights.

    Attributes:
        encoder: "small" or a timm name.
        embedding_size: D.
        loss, loss_options: for `steradian.losses.create`.
        classes: the C class names; ``classes[label]`` names a label.
        preprocessing: how pixels become the encoder's input.
    """

    encoder: str
    embedding_size: int
    loss: str
    loss_options: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Classification:
    """The answer for one image.

    Attributes:
        ranking: (class name, probability) from the most probable down.
        calibrated: whether the probabilities were fitted to held-out images.
    """

    ranking: tuple[tuple[str, float], ...]
    calibrated: bool


class Recognizer(nn.Module):
    """Embeds images and names them.

    ``forward`` maps preprocessed images, float [N, channels, size, size], to raw embeddings [N, D], which is
    what losses take; ``embed`` and ``classify`` start from images.

    Args:
        spec: what to build.
        head_options: how training passes the classes (``head``, ``sample_rate``, ``hard_share``); a saved model
            knows nothing of it.

    Attributes:
        card: what the artifact says beside the weights (None until saved or loaded).
    """

    def __init__(self, spec: ModelSpec, head_options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.card: ModelCard | None = None
        self.encoder, num_features = build_encoder(
            spec.encoder, channels=spec.preprocessing.channels, size=spec.preprocessing.size
        )
        self.num_features = num_features
        self.neck = build_neck(spec.encoder, num_features, spec.embedding_size)
        options = {**spec.loss_options, **(head_options or {})}
        self.head = build_head(spec.loss, len(spec.classes), spec.embedding_size, options)

    @classmethod
    def load(cls, path: str | Path) -> Recognizer:
        """Load a model folder (``model.safetensors`` and ``model.json``) or a run folder. Nothing is unpickled.

        Raises:
            StorageError: missing, damaged or foreign files.
        """
        from steradian.models.artifact import load

        return load(Path(path))

    def save(self, path: str | Path) -> ModelCard:
        """Write the artifact to the folder ``path``, whole or not at all, and return its card."""
        from steradian.models.artifact import save

        return save(self, Path(path))

    @property
    def as_head(self) -> Head:
        """``head`` with its type."""
        return as_head(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """Raw embeddings [N, D] from preprocessed images [N, channels, size, size]."""
        embeddings: Tensor = self.neck(self.encoder(images))
        return embeddings

    def prepare(self, pixels: Tensor) -> Tensor:
        """Encoder input from uint8 pixels, or floats in [0, 1], [N, channels, size, size]."""
        parameter = next(self.parameters())
        samples = pixels.to(parameter.device)
        samples = samples.float() / 255.0 if samples.dtype == torch.uint8 else samples.float()
        return self.spec.preprocessing.normalize(samples)

    @torch.no_grad()
    def embed(self, images: Images, *, normalize: bool = True, batch_size: int = 256) -> Tensor:
        """Embeddings [N, D], float32 on the CPU: unit vectors, or raw with ``normalize=False``.

        Args:
            images: a list of paths, PIL images or decoded arrays; or a tensor [N, channels, size, size] of uint8
                pixels or floats in [0, 1].

        Raises:
            DataError: an image that cannot be decoded.
            InputError: a tensor of another shape.
        """
        pixels = self._pixels(images)
        was_training = self.training
        self.eval()
        try:
            parts = [
                self(self.prepare(pixels[start : start + batch_size])).float().cpu()
                for start in range(0, len(pixels), batch_size)
            ]
        finally:
            self.train(was_training)
        raw = torch.cat(parts) if parts else torch.zeros(0, self.spec.embedding_size)
        return unit_rows(raw) if normalize else raw

    @torch.no_grad()
    def classify(self, images: Images, *, top: int = 5, batch_size: int = 256) -> list[Classification]:
        """Ranked class names with probabilities, one `Classification` per image (see `embed` for ``images``)."""
        if top < 1:
            raise InputError(f"top must be at least 1, but is {top}.")
        raw = self.embed(images, normalize=False, batch_size=batch_size)
        logits = self.as_head.logits(raw.to(self.as_head.weight.device)).cpu()
        calibration = self.card.calibration if self.card is not None else None
        temperature = calibration.temperature if calibration is not None else 1.0
        # One-versus-rest heads answer for each class on its own; their probabilities need not add up to 1.
        squash = torch.sigmoid if isinstance(self.head, OneVersusRest) else functools.partial(torch.softmax, dim=1)
        probabilities, order = squash(logits / temperature).sort(dim=1, descending=True, stable=True)
        names = self.spec.classes
        return [
            Classification(
                tuple((names[int(label)], float(p)) for label, p in zip(labels[:top], ps[:top], strict=True)),
                calibrated=calibration is not None,
            )
            for labels, ps in zip(order, probabilities, strict=True)
        ]

    def decode(self, path: Path) -> Pixels:
        """Decode an image file for this model, uint8 [H, W] or [H, W, 3]. Raises `DataError` naming the file."""
        try:
            return decode(path, self.spec.preprocessing.size)
        except DataError as error:
            raise DataError(f"{path} cannot be decoded: {error}.") from error

    def _pixels(self, images: Images) -> Tensor:
        preprocessing = self.spec.preprocessing
        expected = (preprocessing.channels, preprocessing.size, preprocessing.size)
        if isinstance(images, str | Path):
            raise InputError(f"expected a list of images, but one path came: use [{str(images)!r}].")
        if isinstance(images, Tensor):
            if images.dtype != torch.uint8 and not images.is_floating_point():
                raise InputError(f"expected uint8 pixels or floats in [0, 1], but they came as {images.dtype}.")
            if images.ndim != 4 or tuple(images.shape[1:]) != expected:
                raise InputError(
                    f"expected images [N, {', '.join(map(str, expected))}], but they came as {list(images.shape)}."
                )
            return images
        squares = []
        for index, image in enumerate(images):
            if isinstance(image, Image.Image):
                pixels = pixels_of(image)
            elif isinstance(image, str | Path):
                pixels = self.decode(Path(image))
            elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
                pixels = image
            else:
                raise InputError(
                    f"image {index} is a {type(image).__name__}; expected a path, a PIL image or a uint8 array "
                    "[H, W] or [H, W, 3]."
                )
            squares.append(preprocessing.square(pixels))
        if not squares:
            return torch.zeros((0, *expected), dtype=torch.uint8)
        return torch.from_numpy(np.stack(squares))
