"""dlib's face network is read without dlib: files that are written here, and the published one."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image
from torch.nn import functional

from steradian.errors import StorageError
from steradian.finding import cut, find
from steradian.finding.faces import Faces, weights_file
from steradian.models.dlib_resnet import MEAN, PREPROCESSING, SIZE, STAGES, DlibResNet, read_resnet
from steradian.models.dlib_weights import DlibFile, read_network
from steradian.models.pretrained import FACE_WEIGHTS
from steradian.models.runtimes import onnx_bytes

WIDTH = 2


def integer(value: int) -> bytes:
    size = max((abs(value).bit_length() + 7) // 8, 1)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(map(integer, values))


def floating(value: float) -> bytes:
    mantissa, exponent = math.frexp(float(np.float32(value)))
    return integers(int(mantissa * 2**24), exponent - 24)


def name(text: str) -> bytes:
    return integer(len(text)) + text.encode()


def tensor(values: np.ndarray, *sizes: int) -> bytes:
    return integers(2, *(sizes or (values.size, 1, 1, 1))) + values.astype("<f4").tobytes()


EMPTY = tensor(np.empty(0), 0, 0, 0, 0)
STATE = b"000" + 3 * EMPTY


def convolution(rng: np.random.Generator, inputs: int, outputs: int, kernel: int, stride: int) -> list[bytes]:
    weights = rng.normal(0.0, 1.0 / math.sqrt(inputs * kernel * kernel), outputs * inputs * kernel * kernel + outputs)
    padding = kernel // 2 if stride == 1 else 0
    scales = np.append(rng.uniform(0.5, 1.5, outputs), rng.normal(0.0, 0.1, outputs))
    return [
        name("con_4")
        + tensor(weights)
        + integers(outputs, kernel, kernel, stride, stride, padding, padding)
        + integers(1, outputs, inputs, kernel, kernel)
        + integers(1, 1, outputs, 1, 1)
        + b"".join(map(floating, (1, 1, 1, 0))),
        name("affine_") + tensor(scales) + 2 * integers(1, 1, outputs, 1, 1) + integer(0),
    ]


def network(path: Path, *, mean: Sequence[float] = MEAN, final: str = "fc_2", pooled: int = 3) -> Path:
    """Write the face network with random weights and few channels."""
    rng = np.random.default_rng(0)
    relu, add, mark = name("relu_"), name("add_prev_"), None
    layers: list[bytes | None] = [*convolution(rng, 3, WIDTH, 7, 2), relu]
    layers.append(name("max_pool_2") + integers(pooled, pooled, 2, 2, 0, 0))
    inputs = WIDTH
    for multiple, count, halves in STAGES:
        for number in range(count):
            outputs, strided = WIDTH * multiple, halves and number == 0
            layers += [mark, *convolution(rng, inputs, outputs, 3, 2 if strided else 1), relu]
            layers += convolution(rng, outputs, outputs, 3, 1)
            if strided:
                layers += [mark, mark, name("avg_pool_2") + integers(2, 2, 2, 2, 0, 0)]
            layers += [add, relu]
            inputs = outputs
    layers.append(name("avg_pool_2") + integers(0, 0, 1, 1, 0, 0))
    last = integers(128, inputs) + tensor(rng.normal(size=inputs * 128), inputs, 128, 1, 1)
    parts = integers(1, inputs, 128, 1, 1) + integers(1, 0, 0, 0, 0) + integer(1)
    layers.append(name(final) + last + parts + b"".join(map(floating, (1, 1, 1, 0))))
    first, *later = layers
    assert first is not None
    content = integer(1) + name("loss_metric_2") + floating(0.04) + floating(0.6)
    content += b"".join(integer(1 if layer is None else 2) for layer in reversed(later)) + integer(3)
    content += name("input_rgb_image_sized") + b"".join(map(floating, mean)) + integers(SIZE, SIZE)
    content += first + STATE + integer(1)
    content += b"".join(layer + STATE for layer in later if layer is not None)
    path.write_bytes(content)
    return path


def outputs_by_definition(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Compute the network layer by layer in float64, with scales and shifts apart from the convolutions."""
    values = (torch.from_numpy(pixels).double() - torch.tensor(MEAN).double()[:, None, None]) / 256.0
    values, shortcut = values[None], torch.empty(0)
    layers = read_network(path)[1:]
    for number, layer in enumerate(layers):
        weights = torch.from_numpy(layer.values).double()
        if layer.kind == "con_4":
            count, kernel, _, stride, _, padding, _, _, inputs = layer.integers[:9]
            if number and layers[number - 1].kind in ("max_pool_2", "relu_") and layers[number - 2].kind != "affine_":
                shortcut = values
            weight = weights[:-count].reshape(count, inputs, kernel, kernel)
            values = functional.conv2d(values, weight, weights[-count:], stride, padding)
        elif layer.kind == "affine_":
            scale, shift = weights[:, None, None].chunk(2)
            values = values * scale + shift
        elif layer.kind == "relu_":
            values = values.clamp(min=0.0)
        elif layer.kind == "max_pool_2":
            values = functional.max_pool2d(values, 3, 2)
            shortcut = values
        elif layer.kind == "avg_pool_2":
            if layer.integers[0]:
                shortcut = functional.avg_pool2d(shortcut, 2)
            else:
                values = values.mean(dim=(2, 3))
        elif layer.kind == "add_prev_":
            total = torch.zeros(*(max(sizes) for sizes in zip(values.shape, shortcut.shape, strict=True))).double()
            for part in (values, shortcut):
                total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
            values = total
        else:
            values = values @ weights.reshape(-1, 128)
    return values[0].numpy()


def pattern(size: int = SIZE) -> np.ndarray:
    """Return a picture of waves, uint8 [size, size, 3], made by a formula."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    waves = [np.sin(x / 9 + channel) * np.cos(y / (7 + 3 * channel)) for channel in range(3)]
    return np.stack([(wave * 110 + 128).astype(np.uint8) for wave in waves], axis=2)


def sample(pixels: np.ndarray) -> torch.Tensor:
    return PREPROCESSING.normalize(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255.0)


def test_numbers_of_the_format(tmp_path: Path) -> None:
    numbers = [0, 1, -1, 127, 128, 255, 256, -65536, 2**31, 2**62, 1 - 2**63]
    path = tmp_path / "numbers.dat"
    path.write_bytes(integers(*numbers))
    file = DlibFile(path)
    assert [file.integer() for _ in numbers] == numbers
    file.end()
    values = [0.0, 1.0, -0.1, 1e30, 1e-30, 122.782]
    path.write_bytes(b"".join(map(floating, values)) + name("relu_") + b"10" + tensor(np.arange(3.0)))
    file = DlibFile(path)
    assert [file.floating() for _ in values] == [float(np.float32(value)) for value in values]
    assert file.name() == "relu_"
    file.flags(2)
    assert file.tensor().tolist() == [0.0, 1.0, 2.0]


def test_the_network_computes_what_its_layers_say(tmp_path: Path) -> None:
    path = network(tmp_path / "net.dat")
    model = read_resnet(path)
    assert not model.training and model.num_features == 128
    assert sum(isinstance(part, torch.nn.Conv2d) for part in model.modules()) == 29
    with torch.no_grad():
        result = model(sample(pattern()))[0].numpy()
    expected = outputs_by_definition(path, pattern().transpose(2, 0, 1))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_the_network_of_an_export_is_the_same_for_any_batch(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model = read_resnet(network(tmp_path / "net.dat"))
    images = torch.randn(3, 3, SIZE, SIZE)
    session = onnxruntime.InferenceSession(onnx_bytes(model, images[:2]), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(images).numpy()
    for count in (1, 3):
        (result,) = session.run(None, {session.get_inputs()[0].name: images[:count].numpy()})
        np.testing.assert_allclose(result, expected[:count], atol=1e-4)


def test_parameters_learn() -> None:
    model = DlibResNet(WIDTH)
    model(torch.randn(2, 3, SIZE, SIZE)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooled": 5}, r"layer 4 should be max_pool_2\(3, 3, 2, 2, 0, 0\) .* but is max_pool_2\(5, 5"),
        ({"mean": (100.0, 117.001, 104.298)}, r"mean of its input should be .* but is \(100.0"),
        ({"final": "fc_9"}, "a layer was expected .* but its name is 'fc_9'"),
    ],
)
def test_another_network(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        read_resnet(network(tmp_path / "net.dat", **changes))
    assert str(tmp_path / "net.dat") in str(caught.value)


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    content = network(path).read_bytes()
    sizes = integers(2, WIDTH * (3 * 49 + 1), 1, 1, 1)
    path.write_bytes(content.replace(sizes, integers(2, 2**40, 2**20, 1, 1), 1))
    with pytest.raises(StorageError, match="1099511627776 x 1048576 x 1 x 1 floats does not fit the .* bytes left"):
        read_resnet(path)


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    content = network(path).read_bytes()
    sizes = integers(2, WIDTH * (3 * 49 + 1), 1, 1, 1)
    start = content.index(sizes) + len(sizes)
    path.write_bytes(content[:start] + np.float32(np.nan).tobytes() + content[start + 4 :])
    with pytest.raises(StorageError, match="not finite"):
        read_resnet(path)


def test_files_that_end_early_or_late(tmp_path: Path) -> None:
    path = tmp_path / "file.dat"
    content = network(path).read_bytes()
    for length in [*range(300), *range(300, len(content), len(content) // 50), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(StorageError, match=r"file\.dat"):
            read_resnet(path)
    path.write_bytes(content + b"\x01\x00")
    with pytest.raises(StorageError, match="end was expected"):
        read_resnet(path)


def test_damaged_bytes_are_errors_that_name_the_file_or_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "file.dat"
    content = network(path).read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for position in [*range(120), *rng.integers(0, len(content), 80).tolist()]:
        changed = bytearray(content)
        changed[position] = int(rng.integers(0, 256))
        path.write_bytes(changed)
        try:
            read_resnet(path)
        except StorageError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 50


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        read_resnet(tmp_path / "missing.dat")
    path = tmp_path / "other.dat"
    for content in (b"", pickle.dumps({"weight": [1.0]}), b"PK\x03\x04", bytes(1000), b"\xff" * 1000):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"other\.dat is damaged or not the expected file"):
            read_resnet(path)


FEATURES_BY_DLIB = [-0.056862, 0.087913, 0.044123, 0.004613]
"""What dlib 20.0.1 computed from `pattern`."""


def test_the_published_network_computes_what_dlib_does() -> None:
    import dlib

    path = weights_file(FACE_WEIGHTS)
    model = read_resnet(path)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = np.asarray(Image.open(file).convert("RGB"))
    (face,) = find(portrait)
    square = cut(portrait, face, SIZE, Faces.template)
    with torch.no_grad():
        of_waves, of_face = (model(sample(pixels))[0].numpy() for pixels in (pattern(), square))
    np.testing.assert_allclose(of_waves[:4], FEATURES_BY_DLIB, atol=1e-4)
    described = dlib.face_recognition_model_v1(str(path)).compute_face_descriptor(np.ascontiguousarray(square))
    np.testing.assert_allclose(of_face, np.array(described), atol=1e-4)
