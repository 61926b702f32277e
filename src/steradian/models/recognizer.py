"""Recognizer = encoder + neck + head in one module with one ``parameters()`` and one artifact."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from steradian.data.decode import Pixels
from steradian.data.preprocessing import Preprocessing
from steradian.errors import InputError, UsageError
from steradian.losses import OneVersusRest
from steradian.losses.head.dense import cosines, unit_rows
from steradian.models.calibration import Calibration, Threshold, usual_far
from steradian.models.encoders import OWN, build_encoder
from steradian.models.heads import Head, as_head, build_head, class_centers
from steradian.models.necks import NeckName, build_neck
from steradian.models.pooling import PoolingName
from steradian.models.runtimes import FEW, FastEncoder, Runtime, fast_encoder
from steradian.models.squares import Pictures, decode_file, squares

if TYPE_CHECKING:
    from steradian.models.artifact import ModelCard

Images = Tensor | Pictures


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a recognizer, without its weights.

    Attributes:
        encoder: "small" or a timm name.
        embedding_size: D.
        neck: how features become embeddings, a name of `necks.NECKS`; "auto": what fits the encoder.
        stages: last stages of the encoder whose averages join its features.
        pooling: how the last map of a timm encoder becomes a vector.
        mirrored: whether an embedding is the mean of those of an image and its mirror image.
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
    neck: NeckName = "auto"
    stages: int = 0
    pooling: PoolingName = "average"
    mirrored: bool = False


@dataclass(frozen=True)
class Classification:
    """The answer for one image.

    Attributes:
        ranking: (class name, probability) from the most probable down.
        calibrated: whether the probabilities were fitted to held-out images.
        coverage: what the next two promise, on images like those that were held out.
        candidates: the most probable classes, so many that the truth is among them with a chance of ``coverage``;
            None for a model that is not calibrated for it.
        known: whether the image is as near to a class as at least that share of images of known classes; None for
            such a model.
    """

    ranking: tuple[tuple[str, float], ...]
    calibrated: bool
    coverage: float = 0.95
    candidates: tuple[str, ...] | None = None
    known: bool | None = None

    def as_answer(self, image: str) -> dict[str, Any]:
        """Plain values: {image, ranking [{label, probability}], calibrated, coverage, candidates, known}."""
        ranking = [{"label": label, "probability": probability} for label, probability in self.ranking]
        promise = {"coverage": self.coverage, "candidates": self.candidates, "known": self.known}
        return {"image": image, "ranking": ranking, "calibrated": self.calibrated, **promise}


@dataclass(frozen=True)
class Verification:
    """The answer for two images.

    Attributes:
        same: whether ``similarity`` exceeds ``threshold``.
        similarity: cosine of the two embeddings.
        threshold: cosine at the false-accept rate ``far``.
        probability: that they show the same, if same and different were as likely beforehand; None for a model that
            is not calibrated.
    """

    same: bool
    similarity: float
    threshold: float
    far: float
    probability: float | None


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
        readme: the model card in Markdown; None: `save` writes one of what is known.
        calibration, thresholds: from held-out images; None and empty until measured.
    """

    def __init__(self, spec: ModelSpec, head_options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.card: ModelCard | None = None
        self.readme: str | None = None
        self.calibration: Calibration | None = None
        self.thresholds: tuple[Threshold, ...] = ()
        self._fast: FastEncoder | None = None
        self.encoder, num_features = build_encoder(
            spec.encoder,
            channels=spec.preprocessing.channels,
            size=spec.preprocessing.size,
            stages=spec.stages,
            pooling=spec.pooling,
        )
        self.num_features = num_features
        self.neck = build_neck(spec.neck, spec.encoder, num_features, spec.embedding_size)
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

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None) -> Recognizer:
        """`load` a folder, or ``hf-hub:OWNER/NAME`` at a ``revision`` (branch, tag or commit).

        Raises:
            UsageError: no such repository, or no right to read it.
            StorageError: the hub cannot be reached; missing, damaged or foreign files.
        """
        from steradian.models.hub import PREFIX, fetch

        hub = str(name).startswith(PREFIX) and not Path(name).exists()
        if revision is not None and not hub:
            raise UsageError(f"{name} is a folder, which has no revisions: leave revision={revision!r} out.")
        return cls.load(fetch(str(name), revision) if hub else name)

    def push_to_hub(self, name: str, *, private: bool = True, message: str = "A steradian model") -> str:
        """Upload the artifact with its model card as ``OWNER/NAME``, made where there is none; the commit's address.

        The token is that of ``hf auth login`` or of the variable HF_TOKEN. `save` writes the same files to a folder.

        Raises:
            UsageError: no such owner, or no right to write.
            StorageError: the hub cannot be reached.
        """
        from steradian.models.hub import push

        with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
            self.save(Path(scratch) / "model")
            return push(Path(scratch) / "model", name, private=private, message=message)

    @property
    def saved_id(self) -> str:
        """The id of the artifact that this model is. Raises `UsageError` for one that was never saved."""
        if self.card is None:
            raise UsageError("This model was never saved, so its vectors could not be told from others: save it first.")
        return self.card.id

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names."""
        return self.spec.classes

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.spec.embedding_size

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the encoder's input."""
        return self.spec.preprocessing

    @property
    def as_head(self) -> Head:
        """``head`` with its type."""
        return as_head(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """Raw embeddings [N, D] from preprocessed images [N, channels, size, size]."""
        embeddings: Tensor = self.neck(self.encoder(images))
        return embeddings

    def train(self, mode: bool = True) -> Recognizer:
        """As any module; weights that learn leave an accelerated encoder behind."""
        if mode:
            self._fast = None
        return super().train(mode)

    def accelerate(self, runtime: Runtime | Literal["auto"] = "auto", callers: int = 1) -> None:
        """Run the encoder by a faster runtime from now on (see `runtimes`), with its weights as they are.

        Args:
            callers: threads that will ask at the same time; each is given as many threads as torch has.

        Raises:
            UsageError: a runtime that is not installed.
        """
        self._fast = fast_encoder(self.encoder, self.spec.preprocessing, runtime, callers)

    def accelerate_for(self, images: int) -> None:
        """`accelerate` where so many images repay it: many, a large encoder, and no GPU."""
        on_cpu = next(self.parameters()).device.type == "cpu"
        if images >= FEW and self.spec.encoder not in OWN and on_cpu and self._fast is None:
            self.accelerate()

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
        if was_training:
            self.eval()
        try:
            parts = [
                self._raw(pixels[start : start + batch_size]).float().cpu()
                for start in range(0, len(pixels), batch_size)
            ]
        finally:
            if was_training:
                self.train()
        raw = torch.cat(parts) if parts else torch.zeros(0, self.spec.embedding_size)
        return unit_rows(raw) if normalize else raw

    def _raw(self, pixels: Tensor) -> Tensor:
        found = self._raw_of(pixels)
        return (found + self._raw_of(pixels.flip(3))) / 2.0 if self.spec.mirrored else found

    def _raw_of(self, pixels: Tensor) -> Tensor:
        if self._fast is None:
            found: Tensor = self(self.prepare(pixels))
        else:
            found = self.neck(self._fast(pixels.cpu()))
        return found

    @torch.no_grad()
    def classify(
        self, images: Images, *, top: int = 5, coverage: float = 0.95, batch_size: int = 256
    ) -> list[Classification]:
        """Ranked class names with probabilities, one `Classification` per image (see `embed` for ``images``).

        Args:
            top: how many classes a ranking holds.
            coverage: chance that the set of candidates holds the truth; one of those that the model is calibrated for.

        Raises:
            InputError: a calibrated model without this coverage.
        """
        return self.classify_embeddings(self.embed(images, normalize=False, batch_size=batch_size), top, coverage)

    @torch.no_grad()
    def classify_embeddings(self, raw: Tensor, top: int = 5, coverage: float = 0.95) -> list[Classification]:
        """`classify` for raw embeddings [N, D], as ``embed(normalize=False)`` gives them."""
        if top < 1:
            raise InputError(f"top must be at least 1, but is {top}.")
        probabilities = self.probabilities(raw)
        values, order = probabilities.sort(dim=1, descending=True, stable=True)
        names, fitted = self.spec.classes, self.calibration
        members = nearest = None
        if fitted is not None and fitted.coverage_quantiles:
            members = 1.0 - values <= fitted.bound(coverage)
            # A list of no class would hold the truth no more often.
            members[:, 0] = True
            nearest = self.center_cosines(raw).amax(dim=1) >= fitted.known_cosine(coverage)
        return [
            Classification(
                tuple((names[label], p) for label, p in zip(labels[:top], ps[:top], strict=True)),
                calibrated=fitted is not None,
                coverage=coverage,
                candidates=None if members is None else tuple(names[label] for label in labels[: members[row].sum()]),
                known=None if nearest is None else bool(nearest[row]),
            )
            for row, (labels, ps) in enumerate(zip(order.tolist(), values.tolist(), strict=True))
        ]

    def probabilities(self, raw: Tensor) -> Tensor:
        """Probabilities [N, C] of the classes from raw embeddings [N, D]: softmax(logits / temperature).

        Without a calibration the temperature is 1, and one-versus-rest heads answer for each class on its own, so that
        theirs need not add up to 1.
        """
        logits = self.logits(raw)
        if self.calibration is not None:
            return (logits / self.calibration.temperature).softmax(dim=1)
        return torch.sigmoid(logits) if isinstance(self.head, OneVersusRest) else logits.softmax(dim=1)

    @torch.no_grad()
    def logits(self, raw: Tensor) -> Tensor:
        """Margin-free logits float32 [N, C] of raw embeddings [N, D], on the CPU."""
        return self.as_head.logits(raw.to(self.as_head.weight.device)).float().cpu()

    @torch.no_grad()
    def center_cosines(self, raw: Tensor) -> Tensor:
        """Cosines float32 [N, C] of raw embeddings [N, D] to the class centers, on the CPU."""
        centers = class_centers(self.head)
        return cosines(raw.to(centers.device, centers.dtype), centers).float().cpu()

    def verify(
        self, first: str | Path | Image.Image, second: str | Path | Image.Image, *, far: float | None = None
    ) -> Verification:
        """Whether two images show the same.

        Args:
            far: the share of pairs of different ones that may be taken for the same; one of the model's thresholds.
                None: 0.001, or the lowest that there is a threshold for.

        Raises:
            InputError: the model has no threshold for ``far``.
            DataError: an image that cannot be decoded.
        """
        self.threshold(far)
        a, b = self.embed([first, second])
        return self.judge(float(a @ b), far)

    def judge(self, similarity: float, far: float | None = None) -> Verification:
        """`verify` for two images whose cosine is known."""
        chosen = self.threshold(far)
        pairs = self.calibration.pairs if self.calibration is not None else None
        probability = pairs(similarity) if pairs is not None else None
        return Verification(similarity > chosen.cosine, similarity, chosen.cosine, chosen.far, probability)

    def threshold(self, far: float | None = None) -> Threshold:
        """The threshold for a false-accept rate; None: for 0.001, or the lowest that there is one for.

        Raises:
            InputError: the model has none for it.
        """
        far = usual_far(self.thresholds) if far is None else far
        chosen = next((threshold for threshold in self.thresholds if math.isclose(threshold.far, far)), None)
        if chosen is None:
            has = ", ".join(f"{threshold.far:g}" for threshold in self.thresholds)
            raise InputError(
                f"this model has no threshold for a false-accept rate of {far:g}; "
                + (
                    f"it has them for {has}: choose one of those."
                    if has
                    else "it has none: too few images were held out (calibration)."
                )
            )
        return chosen

    def decode(self, path: Path) -> Pixels:
        """Decode an image file for this model, uint8 [H, W] or [H, W, 3]. Raises `DataError` naming the file."""
        return decode_file(path, self.preprocessing)

    def _pixels(self, images: Images) -> Tensor:
        preprocessing = self.spec.preprocessing
        expected = (preprocessing.channels, preprocessing.size, preprocessing.size)
        if isinstance(images, Tensor):
            if images.dtype != torch.uint8 and not images.is_floating_point():
                raise InputError(f"expected uint8 pixels or floats in [0, 1], but they came as {images.dtype}.")
            if images.ndim != 4 or tuple(images.shape[1:]) != expected:
                raise InputError(
                    f"expected images [N, {', '.join(map(str, expected))}], but they came as {list(images.shape)}."
                )
            return images
        return torch.from_numpy(squares(images, preprocessing))
