"""The face network of dlib: 29 convolutions, 128 numbers, trained on aligned faces of 150 x 150 pixels.

Its outputs are those of dlib to within 1e-4. Two faces are of one person, by dlib's rule, if their distance is below
0.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.data.preprocessing import Preprocessing
from steradian.errors import StorageError
from steradian.models.dlib_weights import DlibLayer, read_network
from steradian.models.layered_encoder import LayeredEncoder

STAGES = ((1, 3, False), (2, 4, True), (4, 3, True), (8, 3, True), (8, 1, True))
"""Width as a multiple of the first one, number of blocks, and whether the first block halves the map."""

WIDTH, FEATURES, SIZE = 32, 128, 150

SMALLEST = 131
"""Pixels of the smallest images whose map is not empty after all halvings."""

MEAN, SCALE = (122.782, 117.001, 104.298), 256.0
"""dlib computes (pixel - mean) / scale, with pixels from 0 to 255."""

PREPROCESSING = Preprocessing(SIZE, 3, tuple(value / 255.0 for value in MEAN), (SCALE / 255.0,) * 3, finder="faces")
"""The input of the network: aligned faces."""


class DlibBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without weights.

    If the block halves the map, the first convolution has no padding, and the shortcut is an average of 2x2. Zeros are
    appended to the smaller of the two maps: columns on the right, rows below, and channels.
    """

    def __init__(self, inputs: int, outputs: int, *, halves: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 2 if halves else 1, 0 if halves else 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.halves = halves

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.second(self.first(features).relu())
        if self.halves:
            features = functional.avg_pool2d(features, 2)
            shape = [max(sizes) for sizes in zip(output.shape[1:], features.shape[1:], strict=True)]
            output, features = _filled(output, shape), _filled(features, shape)
        return (output + features).relu()


def _filled(features: Tensor, shape: list[int]) -> Tensor:
    """Append zeros to channels, rows and columns up to ``shape``."""
    channels, rows, columns = (wanted - size for wanted, size in zip(shape, features.shape[1:], strict=True))
    return functional.pad(features, (0, columns, 0, rows, 0, channels))


class DlibResNet(LayeredEncoder):
    """The network. Input float [N, 3, h, w], normalized by `PREPROCESSING`; output [N, 128], not of unit length.

    dlib's scales and shifts per channel, once a batch norm, are part of the convolutions here.

    Args:
        width: channels of the first stage.
    """

    num_features = FEATURES

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2))]
        inputs = width
        for multiple, count, halves in STAGES:
            outputs = width * multiple
            for number in range(count):
                layers.append(DlibBlock(inputs, outputs, halves=halves and number == 0))
                inputs = outputs
        last = nn.Linear(inputs, FEATURES, bias=False)
        layers.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last))
        self.layers = nn.Sequential(*layers)


def read_resnet(path: Path) -> DlibResNet:
    """Read the network from ``dlib_face_recognition_resnet_model_v1.dat``. It is returned in evaluation mode.

    Raises:
        StorageError: the file is damaged, or holds another network.
    """
    layers = read_network(path)
    width = max(layers[1].integers[0], 1) if layers[1].kind == "con_4" else WIDTH
    expected = list(_expected(width))
    for number, (layer, (kind, integers, weights)) in enumerate(zip(layers, expected, strict=False)):
        if (layer.kind, layer.integers, layer.values.size) != (kind, integers, weights):
            raise _other(
                path,
                f"layer {number} should be {kind}{integers} with {weights:,} weights, but is "
                f"{layer.kind}{layer.integers} with {layer.values.size:,}",
            )
    if len(layers) != len(expected):
        raise _other(path, f"it should have {len(expected)} layers, but has {len(layers)}")
    if not np.allclose(layers[0].floats, MEAN, atol=1e-3):
        raise _other(path, f"the mean of its input should be {MEAN}, but is {layers[0].floats}")
    with torch.device("meta"):
        model = DlibResNet(width)
    model.load_state_dict(dict(zip(model.state_dict(), _tensors(layers), strict=True)), assign=True)
    return model.eval()


def _other(path: Path, difference: str) -> StorageError:
    return StorageError(
        f"{path} does not hold dlib's face network of 29 convolutions: {difference}. Use "
        "dlib_face_recognition_resnet_model_v1.dat, from the package face-recognition-models."
    )


def _expected(width: int) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield kind, integers and number of weights of every layer, in the order of computation."""
    yield "input_rgb_image_sized", (SIZE, SIZE), 0
    yield from _convolution(3, width, 7, 2)
    yield "relu_", (), 0
    yield "max_pool_2", (3, 3, 2, 2, 0, 0), 0
    inputs = width
    for multiple, count, halves in STAGES:
        outputs = width * multiple
        for number in range(count):
            strided = halves and number == 0
            yield from _convolution(inputs, outputs, 3, 2 if strided else 1)
            yield "relu_", (), 0
            yield from _convolution(outputs, outputs, 3, 1)
            if strided:
                yield "avg_pool_2", (2, 2, 2, 2, 0, 0), 0
            yield "add_prev_", (), 0
            yield "relu_", (), 0
            inputs = outputs
    yield "avg_pool_2", (0, 0, 1, 1, 0, 0), 0
    yield "fc_2", (FEATURES, inputs, inputs, FEATURES, 1, 1, 0, 0, 0, 0, 1), inputs * FEATURES


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield a convolution with bias, and the scale and shift of each of its channels."""
    padding = kernel // 2 if stride == 1 else 0
    part = (outputs, inputs, kernel, kernel, 1, outputs, 1, 1)
    weights = outputs * inputs * kernel * kernel + outputs
    yield "con_4", (outputs, kernel, kernel, stride, stride, padding, padding, *part), weights
    yield "affine_", (1, outputs, 1, 1, 1, outputs, 1, 1, 0), 2 * outputs


def _tensors(layers: list[DlibLayer]) -> Iterator[Tensor]:
    """Yield weight and bias of every convolution, with scale and shift in them, and the weight of the last layer."""
    for layer, following in zip(layers, [*layers[1:], layers[-1]], strict=True):
        if layer.kind == "con_4":
            outputs, inputs, kernel = layer.integers[0], layer.integers[8], layer.integers[1]
            weight, bias = layer.values[:-outputs], layer.values[-outputs:]
            scale, shift = following.values[:outputs], following.values[outputs:]
            yield torch.from_numpy(weight.reshape(outputs, inputs, kernel, kernel) * scale[:, None, None, None])
            yield torch.from_numpy(bias * scale + shift)
        elif layer.kind == "fc_2":
            yield torch.from_numpy(layer.values.reshape(-1, FEATURES).T.copy())
