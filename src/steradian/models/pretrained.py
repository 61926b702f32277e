"""Load pretrained encoder weights, check that they fit, and find the preprocessing that they need.

Weights of a wrong variant can have the right shapes: they load without an error but give worse embeddings. The lite
models, for example, have a twin with other padding, and publishers differ in mean and deviation. So each source of
weights states its encoder and its preprocessing, and both are saved in the artifact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from steradian.data.model_input import Interpolation
from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError, UsageError
from steradian.extras import pip_install
from steradian.finding.faces import weights_file
from steradian.models.artifact import TENSORS, Artifact, read_manifest
from steradian.models.dlib_resnet import read_resnet
from steradian.models.encoders import DLIB_FACE, OWN, layers_of
from steradian.models.locations import is_built_in, model_folder, names_model
from steradian.models.pooling import POWER
from steradian.models.staged import bare
from steradian.models.weight_files import read_weights
from steradian.models.weight_packages import PACKAGES, package_of

FACE_WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def check_weights(encoder: str, weights: str) -> None:
    """Raise `UsageError` if ``weights`` cannot be for ``encoder``. Reads no weights."""
    if names_model(weights):
        return
    if encoder in OWN:
        raise UsageError(
            f"The encoder {encoder!r} has no published weights: leave out --weights, name a timm encoder, or give a "
            "run or model folder of your own."
        )
    if weights == "package":
        package = package_of(encoder)
        if package is None:
            raise UsageError(
                f"No weights package is for the encoder {encoder!r}, even if its tensors would fit. Use --encoder with "
                f"one of {', '.join(PACKAGES)}."
            )
        if not package.installed:
            raise UsageError(f"The weights package is not installed: {pip_install(package.distribution)}")
    elif weights != "hub" and not Path(weights).is_file():
        raise UsageError(
            f"There is no weights file {weights!r}. --weights takes a .safetensors or .pth file, a run or model "
            "folder, 'hub' (timm's published weights) or 'package' (installed with steradian)."
        )


def pretrained_preprocessing(encoder: str, weights: str) -> Preprocessing:
    """Return the input that ``weights`` were trained on; for a file, the one that timm names for ``encoder``."""
    package = package_of(encoder) if weights == "package" else None
    if package is not None:
        return package.preprocessing
    if names_model(weights):
        return read_manifest(model_folder(weights)).preprocessing
    import timm

    known = timm.get_pretrained_cfg(encoder)
    if known is None:
        return Preprocessing(224, 3, IMAGENET_MEAN, IMAGENET_STD, 0.875, "bilinear")
    kind: Interpolation = "bicubic" if known.interpolation == "bicubic" else "bilinear"
    size, crop = int(known.input_size[-1]), float(known.crop_pct)
    return Preprocessing(size, 3, tuple(known.mean), tuple(known.std), crop, kind)


@dataclass(frozen=True)
class PretrainedWeights:
    """The weights of an encoder without its classifier, opened once; ``origin`` is what the recipe names as weights."""

    encoder: str
    origin: str
    tensors: dict[str, Tensor]

    @classmethod
    def open(cls, encoder: str, weights: str) -> PretrainedWeights:
        """Read the weights; nothing in them is executed."""
        if weights == "hub":
            tensors = _from_hub(encoder)
        elif weights == "package":
            package = package_of(encoder)
            if package is None:
                raise UsageError(f"No weights package is for the encoder {encoder!r}.")
            tensors = package.tensors()
        elif names_model(weights):
            artifact = open_artifact(weights)
            prefix = "encoder.model." if artifact.manifest.stages else "encoder."
            own = {name: tensor for name, tensor in artifact.tensors().items() if name.startswith(prefix)}
            tensors = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
        else:
            tensors = read_weights(Path(weights))
        return cls(encoder, weights, tensors)

    def fill(self, encoder: nn.Module, layers: int | None = None) -> None:
        """Copy the weights into ``encoder``: into its first ``layers`` layers, counted from the input, or all."""
        encoder = bare(encoder)
        fresh = {key: tensor.clone() for key, tensor in encoder.state_dict().items()} if layers is not None else {}
        origin = "the installed package" if self.origin == "package" else self.origin
        _fill(encoder, self.tensors, self.encoder, origin)
        if layers is not None:
            of_module = {key.rpartition(".")[0]: layer for key, layer in layers_of(encoder).items()}
            kept = {key: tensor for key, tensor in fresh.items() if of_module.get(key.rpartition(".")[0], 0) >= layers}
            encoder.load_state_dict({**encoder.state_dict(), **kept})


@dataclass(frozen=True)
class PackagedArtifact(Artifact):
    """A built-in model whose manifest is part of steradian, and whose tensors are those of a package of weights."""

    def check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Do nothing: the id is compared after loading, and the tensors are few."""

    def tensors(self) -> dict[str, Tensor]:
        """Read the encoder and the ImageNet classifier. Raises `UsageError` if the package is not installed."""
        encoder = self.manifest.encoder
        check_weights(encoder, "package")
        published = PretrainedWeights.open(encoder, "package").tensors
        tensors = {}
        for name, tensor in published.items():
            part, _, last = name.partition(".")
            tensors[f"head.{last}" if part == "classifier" else f"encoder.{name}"] = tensor
            if name.endswith("running_mean"):
                counter = f"encoder.{name.removesuffix('running_mean')}num_batches_tracked"
                tensors[counter] = torch.tensor(0)
        return tensors


@dataclass(frozen=True)
class FaceArtifact(Artifact):
    """The built-in model of faces, whose encoder is dlib's network in a package of weights."""

    def check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Do nothing: the file of the package is checked layer by layer when it is read."""

    def tensors(self) -> dict[str, Tensor]:
        """Read the encoder. Raises `UsageError` if the package is not installed."""
        encoder = read_resnet(weights_file(FACE_WEIGHTS)).state_dict()
        classifier = torch.zeros(len(self.manifest.classes), self.manifest.embedding_size)
        return {**{f"encoder.{name}": tensor for name, tensor in encoder.items()}, "head.weight": classifier}


def open_artifact(location: str | Path, revision: str | None = None) -> Artifact:
    """Open the model at ``location``; see `model_folder`. A built-in one may have its tensors in a package."""
    folder = model_folder(location, revision)
    if (folder / TENSORS).is_file() or not is_built_in(folder):
        return Artifact.open(folder)
    kind = FaceArtifact if read_manifest(folder).encoder == DLIB_FACE else PackagedArtifact
    return kind.open(folder)


def _from_hub(name: str) -> dict[str, Tensor]:
    import timm

    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UsageError(
            f"The pretrained weights of {name!r} could not be fetched ({first}). Check the network and the name, or "
            "give a file with --weights, or use the installed ones: --weights package."
        ) from error
    return dict(model.state_dict())


def _fill(encoder: nn.Module, tensors: dict[str, Tensor], name: str, source: str) -> None:
    expected = encoder.state_dict()
    extra = tensors.keys() - expected.keys()
    # Only tensors of an unused classifier may be left over.
    unknown = sorted(key for key in extra if not re.match(r"(classifier|head|fc|last_linear|head_dist)\b", key))
    # steradian adds the power of GeM pooling, so published weights do not contain it.
    unpublished = {key for key in expected if key.endswith(("num_batches_tracked", POWER))}
    missing = sorted(expected.keys() - tensors.keys() - unpublished)
    mismatched = sorted(key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape)
    if unknown or missing or mismatched:
        differences = [*(f"{key} is missing" for key in missing), *(f"{key} is unknown" for key in unknown)]
        differences += [f"{key} is {list(tensors[key].shape)}, not {list(expected[key].shape)}" for key in mismatched]
        raise StorageError(
            f"{source} holds weights of another architecture than {name!r}: {differences[0]}"
            + (f", and {len(differences) - 1} more differences." if len(differences) > 1 else ".")
        )
    encoder.load_state_dict({**expected, **{key: tensors[key] for key in expected.keys() & tensors.keys()}})
