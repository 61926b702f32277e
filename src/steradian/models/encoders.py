"""Build encoders by name. An encoder maps pixels to features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from steradian.errors import InputError, UsageError, did_you_mean
from steradian.models.dlib_resnet import SMALLEST, DlibResNet
from steradian.models.efficientnet_lite import EfficientNetLite
from steradian.models.layered_encoder import LayeredEncoder
from steradian.models.pooling import PoolingName, set_pooling
from steradian.models.staged import StagedEncoder, bare
from steradian.models.weight_packages import package_of

SMALL, EIGHT_LAYER, MOBILE_FACE, DLIB_FACE = "small", "eight-layer", "mobile-face", "dlib-face"
RESIDUAL, WIDE_RESIDUAL = "residual", "residual-wide"
SMALL_UP_TO = 64
"""Above this many pixels per side the default encoder is `LARGE`."""
LARGE = "resnet18"

STRIDED = ((14, 1), (40, 2), (80, 3))
"""Largest side in pixels -> number of first convolutions that halve the map."""


class SmallEncoder(LayeredEncoder):
    """The convolutional body of system B: 5x5x32, then eight 3x3x16, each with batch norm and ReLU.

    With its neck it has 22,783 parameters for gray images and 3 dimensions, as published. The published body
    never strides; here the first convolutions halve the map until it is 4 to 10 pixels wide, which changes
    no parameter count and is about ten times faster at 28 pixels.

    Input float [N, channels, size, size]; output a feature map [N, 16, h, w].
    """

    num_features = 16

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        halvings = next((count for limit, count in STRIDED if size <= limit), 4)
        widths = [channels, 32, *[16] * 8]
        layers: list[nn.Module] = []
        for index in range(9):
            kernel = 5 if index == 0 else 3
            stride = 2 if index < halvings else 1
            layers += [
                nn.Conv2d(widths[index], widths[index + 1], kernel, stride, padding=kernel // 2),
                nn.BatchNorm2d(widths[index + 1]),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)


class EightLayerEncoder(LayeredEncoder):
    """Seven layers, plus the head as the eighth: a small version of the network of the transfer study.

    Five convolutions and two fully connected layers as in CaffeNet (Yosinski et al. 2014), each with batch norm and
    ReLU; the published net had no batch norm.

    Input float [N, channels, size, size]; output [N, 128].
    """

    num_features = 128
    CONVOLUTIONS = ((5, 32, 2), (3, 48, 1), (3, 64, 2), (3, 64, 1), (3, 64, 1))
    """Kernel, channels, stride."""
    POOLED = 4
    CONNECTED = (256, 128)

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        for kernel, out, stride in self.CONVOLUTIONS:
            convolution = nn.Conv2d(width, out, kernel, stride, padding=kernel // 2, bias=False)
            layers.append(nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True)))
            width = out
        width *= self.POOLED**2
        for number, out in enumerate(self.CONNECTED):
            before = [nn.AdaptiveAvgPool2d(self.POOLED), nn.Flatten()] if number == 0 else []
            linear = nn.Linear(width, out, bias=False)
            layers.append(nn.Sequential(*before, linear, nn.BatchNorm1d(out), nn.ReLU(inplace=True)))
            width = out
        self.layers = nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut; ``stride`` 2 halves the map."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_normalization = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_normalization = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.first_normalization(self.first(features)).relu()
        output = self.second_normalization(self.second(output)) + self.shortcut(features)
        return output.relu()


class ResidualEncoder(LayeredEncoder):
    """A stem that halves the map and six residual blocks: for drawings and small images, where position matters.

    Its 4 x 4 map is flattened, not averaged, so that a stroke on the left differs from one on the right.

    Input float [N, channels, size, size]; output [N, 1280].
    """

    WIDTH, POOLED = 20, 4
    num_features = 4 * WIDTH * POOLED**2

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        width = self.WIDTH
        stem = nn.Conv2d(channels, width, 5, 2, 2, bias=False)
        layers: list[nn.Module] = [nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True))]
        for factor in (1, 2, 4):
            before = width * max(factor // 2, 1)
            layers.append(ResidualBlock(before, width * factor, 1 if factor == 1 else 2))
            layers.append(ResidualBlock(width * factor, width * factor, 1))
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(self.POOLED)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.pool(self.layers(images)).flatten(1)
        return features


class WideResidualEncoder(ResidualEncoder):
    """`ResidualEncoder` with 24 instead of 20 channels in its first blocks: 1.4 times the products.

    Input float [N, channels, size, size]; output [N, 1536].
    """

    WIDTH = 24
    num_features = 4 * WIDTH * ResidualEncoder.POOLED**2


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, *, depthwise: bool = False) -> nn.Sequential:
    """Convolution, batch norm, PReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=inputs if depthwise else 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs),
    )


class Bottleneck(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1, with a shortcut if the shape does not change (MobileNetV2)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.layers = nn.Sequential(
            _convolution(inputs, width, 1),
            _convolution(width, width, 3, stride, depthwise=True),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.layers(features)
        return features + output if self.shortcut else output


class MobileFaceEncoder(LayeredEncoder):
    """MobileFaceNet (Chen et al. 2018, table 1) up to its global depthwise convolution.

    The published net ends with a linear 1x1 convolution to 128, which is the neck "linear" here. The global
    convolution has one weight per position and channel, so images must be aligned.

    Input float [N, channels, size, size], published for 112; output [N, 512].
    """

    num_features = 512
    BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
    """Expansion, channels, number of blocks, stride of the first."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(channels, 64, 3, 2), _convolution(64, 64, 3, depthwise=True)]
        width = 64
        for expansion, outputs, count, stride in self.BLOCKS:
            for number in range(count):
                layers.append(Bottleneck(width, outputs, expansion, stride if number == 0 else 1))
                width = outputs
        side = -(-size // 16)
        last = nn.Conv2d(self.num_features, self.num_features, side, groups=self.num_features, bias=False)
        layers.append(_convolution(width, self.num_features, 1))
        layers.append(nn.Sequential(last, nn.BatchNorm2d(self.num_features), nn.Flatten()))
        self.layers = nn.Sequential(*layers)


def _dlib_face(channels: int, size: int) -> LayeredEncoder:
    """Return dlib's face network. Raises `InputError` for images that it does not take."""
    if channels != 3 or size < SMALLEST:
        raise InputError(
            f"the encoder {DLIB_FACE!r} takes color images of {SMALLEST} pixels or more, but channels is {channels} "
            f"and the size {size}."
        )
    return DlibResNet()


OWN: dict[str, Callable[[int, int], LayeredEncoder]] = {
    SMALL: SmallEncoder,
    EIGHT_LAYER: EightLayerEncoder,
    RESIDUAL: ResidualEncoder,
    WIDE_RESIDUAL: WideResidualEncoder,
    MOBILE_FACE: MobileFaceEncoder,
    DLIB_FACE: _dlib_face,
}
"""Encoders of steradian itself, for small images and for aligned faces."""

LIGHT = frozenset(OWN) - {DLIB_FACE}
"""Encoders that are so small that another runtime is not worth its start."""


def pooled(features: Tensor) -> Tensor:
    """Average a feature map [N, F, h, w] to vectors [N, F]; return vectors unchanged."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def layers_of(encoder: nn.Module) -> dict[str, int]:
    """Map parameter names to layers, counted from the input: convolutions of "small", stages of a timm encoder."""
    if isinstance(encoder, LayeredEncoder):
        modules_per_layer = 3 if isinstance(encoder, SmallEncoder) else 1
        return {name: int(name.split(".")[1]) // modules_per_layer for name, _ in encoder.named_parameters()}
    model = bare(encoder)
    layers = model.layers() if isinstance(model, EfficientNetLite) else _timm_layers(model)
    return {f"model.{name}": layer for name, layer in layers.items()} if model is not encoder else layers


def _timm_layers(model: nn.Module) -> dict[str, int]:
    from timm.models import group_parameters

    matcher: Any = model.group_matcher
    layers: dict[str, int] = group_parameters(model, matcher(coarse=True), reverse=True)
    return layers


class LowerLayers(nn.Module):
    """The first ``count`` layers of an EfficientNet-lite: images to maps, which `from_maps` takes."""

    def __init__(self, encoder: nn.Module, count: int) -> None:
        super().__init__()
        self.body: Any = bare(encoder)
        self.count = count

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body.lower(images, self.count)
        return maps


def from_maps(encoder: nn.Module, maps: Tensor, below: int) -> Tensor:
    """Return the features of images whose maps after the first ``below`` layers are given."""
    features: Tensor = encoder(maps, below=below)
    return features


def check_lower_layers(encoder: nn.Module, count: int) -> None:
    """Raise `UsageError` unless the maps after the first ``count`` layers are all that the layers above need."""
    body, stages = bare(encoder), encoder.stages if isinstance(encoder, StagedEncoder) else 0
    if not isinstance(body, EfficientNetLite):
        raise UsageError("training.cached_maps works with lite0 and lite2 only: leave it out, or use one of them.")
    most = body.most_below(stages)
    if not 0 < count <= most:
        raise UsageError(
            f"training.cached_maps needs training.freeze between 1 and {most} with stages: {stages}, but it is {count}."
        )


def freeze_layers(encoder: nn.Module, count: int, *, keep_statistics: bool = False) -> None:
    """Freeze the first ``count`` layers: no gradients, and batch norm keeps its running statistics.

    With ``keep_statistics`` batch norm does so in all layers, and normalizes with them. Call this after ``train()``,
    which would let the statistics change again.
    """
    layers = layers_of(encoder)
    for name, layer in layers.items():
        encoder.get_parameter(name).requires_grad_(layer >= count)
        if layer < count:
            encoder.get_submodule(name.rpartition(".")[0]).eval()
    if count > max(layers.values()) or keep_statistics:
        encoder.eval()


def default_encoder(size: int) -> str:
    """Return the default encoder for images of ``size`` pixels."""
    return SMALL if size <= SMALL_UP_TO else LARGE


def check_encoder(name: str) -> None:
    """Raise `UsageError`, with the closest names, unless ``name`` is in `OWN` or in ``timm.list_models()``."""
    if name in OWN or package_of(name) is not None:
        return
    import timm

    known = timm.list_models()
    # A tag such as resnet18.a1_in1k names weights of a model; a prefix such as hf-hub: would use the network.
    if ":" in name or not timm.is_model(name):
        close = did_you_mean(name, [*OWN, *known])
        hint = close if close.startswith("Did") else f"Use {SMALL!r} or one of the {len(known)} names of timm."
        raise UsageError(f"There is no encoder called {name!r}. {hint}")


def build_encoder(
    name: str, *, channels: int, size: int, stages: int = 0, grid: int = 0, pooling: PoolingName = "average"
) -> tuple[nn.Module, int]:
    """Build the encoder ``name`` with random weights; return it and its number of features F.

    "small" gives a feature map [N, F, h, w], others a vector [N, F].

    Args:
        stages: number of last stages of a timm encoder whose averages join the features (`staged.StagedEncoder`).
        grid: cells per side in which those stages are averaged; 0: over the whole picture.
        pooling: pooling of the last feature map of a timm encoder.
    """
    check_encoder(name)
    if grid and (name in OWN or not stages):
        raise InputError(
            f"grid: {grid} averages stages of a timm encoder in cells: set stages, too, and use one such as lite0."
        )
    if name in OWN:
        if stages:
            raise InputError(f"the encoder {name!r} has no stages to join: use stages: 0, or a timm encoder.")
        if pooling != "average":
            raise InputError(f"the encoder {name!r} has a fixed pooling: use pooling: average, or a timm encoder.")
        own = OWN[name](channels, size)
        return own, own.num_features
    if (package := package_of(name)) is not None and pooling == "average" and channels == 3:
        encoder: nn.Module = EfficientNetLite(package.blocks, package.width_factor)
    else:
        encoder = _timm_encoder(name, channels, size)
        set_pooling(encoder, name, pooling)
    if stages:
        staged = StagedEncoder(encoder, stages, channels, size, grid)
        return staged, staged.num_features
    features: Any = getattr(encoder, "head_hidden_size", None) or encoder.num_features
    return encoder, int(features)


def _timm_encoder(name: str, channels: int, size: int) -> nn.Module:
    import timm

    settings: dict[str, Any] = {"pretrained": False, "in_chans": channels, "num_classes": 0}
    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.fixed_input_size:
        settings["img_size"] = size
    try:
        encoder: nn.Module = timm.create_model(name, **settings)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"timm cannot build {name!r} for {channels} channel(s) at {size} px: {error}") from error
    return encoder
