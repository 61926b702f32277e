"""A small encoder for aligned faces that weights each position of its last map instead of averaging."""

from __future__ import annotations

from torch import Tensor, nn


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


class MobileFaceEncoder(nn.Module):
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

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features
