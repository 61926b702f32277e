"""Pretrained weights: that they are the right ones, and what is said of those that are not."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from steradian.data import Preprocessing
from steradian.errors import InputError, StorageError, UsageError
from steradian.models import ModelSpec, Recognizer
from steradian.models.encoders import EIGHT_LAYER, RESIDUAL, build_encoder, check_encoder, freeze_layers, layers_of
from steradian.models.necks import NECKS, build_neck
from steradian.models.pretrained import PretrainedWeights, check_weights, pretrained_preprocessing
from steradian.models.runtimes import available_runtimes, chosen_runtime, fast_encoder
from steradian.models.weight_packages import PACKAGED, PACKAGES

LITTLE = "mobilenetv3_small_050"


def classifier(name: str) -> torch.nn.Module:
    """The packaged weights with their 1,000 classes, in the timm model ``name``."""
    model = timm.create_model(name, pretrained=False)
    model.load_state_dict(PACKAGES["lite0"].tensors())
    return model.eval()


def flower(mean: float = 0.5, std: float = 0.5) -> torch.Tensor:
    pixels = Preprocessing(224, 3, (mean,) * 3, (std,) * 3, 0.875, "bicubic")
    square = torch.from_numpy(pixels.square(load_sample_image("flower.jpg"))[None].copy())
    return pixels.normalize(square.float() / 255.0)


@torch.no_grad()
def test_the_packaged_weights_know_a_flower_and_only_in_their_own_variant_and_pixels() -> None:
    """A flower is a daisy (class 985) only with SAME padding, eps 1e-3, and mean and deviation of a half."""
    right = classifier(PACKAGED)(flower()).softmax(dim=1)[0]
    confidence = float(right.max())
    assert confidence > 0.3 and int(right.argmax()) == 985
    found = pretrained_preprocessing(PACKAGED, "package")
    assert (found.mean, found.std, found.interpolation, found.crop) == ((0.5,) * 3, (0.5,) * 3, "bicubic", 0.875)
    twin = classifier("efficientnet_lite0")(flower()).softmax(dim=1)[0]
    other = classifier(PACKAGED)(flower(0.45, 0.225)).softmax(dim=1)[0]
    assert float(twin[985]) < 0.6 * confidence and float(other[985]) < 0.6 * confidence


def test_loading_fills_every_tensor() -> None:
    encoder, _ = build_encoder(PACKAGED, channels=3, size=64)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    PretrainedWeights.open(PACKAGED, "package").fill(encoder)
    same = [name for name, tensor in encoder.state_dict().items() if torch.equal(tensor, before[name])]
    assert all(name.endswith("num_batches_tracked") for name in same)
    full = classifier(PACKAGED)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder.eval()(images), full.forward_head(full.forward_features(images), pre_logits=True))


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_file_of_weights_in_full_or_in_part(tmp_path: Path, ending: str) -> None:
    source, _ = build_encoder(LITTLE, channels=3, size=64)
    tensors = {**source.state_dict(), "classifier.weight": torch.zeros(3, 4)}
    path = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    whole, _ = build_encoder(LITTLE, channels=3, size=64)
    PretrainedWeights.open(LITTLE, str(path)).fill(whole)
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in whole.state_dict().items())
    part, _ = build_encoder(LITTLE, channels=3, size=64)
    fresh = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    PretrainedWeights.open(LITTLE, str(path)).fill(part, layers=2)
    layers = layers_of(part)
    for name, tensor in part.named_parameters():
        assert torch.equal(tensor, source.state_dict()[name] if layers[name] < 2 else fresh[name]), name


class Explosive:
    def __reduce__(self):
        return (print, ("executed",))


def test_what_is_no_file_of_weights_is_said_and_never_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, _ = build_encoder(LITTLE, channels=3, size=64)
    bad = tmp_path / "bad.pth"
    bad.write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(StorageError, match=r"bad.pth holds more than tensors|bad.pth is damaged"):
        PretrainedWeights.open(LITTLE, str(bad)).fill(encoder)
    torch.save({"state_dict": Explosive()}, bad)
    with pytest.raises(StorageError, match="holds more than tensors"):
        PretrainedWeights.open(LITTLE, str(bad)).fill(encoder)
    assert "executed" not in capsys.readouterr().out
    torch.save([1, 2], bad)
    with pytest.raises(StorageError, match="holds no state_dict"):
        PretrainedWeights.open(LITTLE, str(bad)).fill(encoder)
    good = tmp_path / "good.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, good)
    good.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(StorageError, match="is damaged"):
        PretrainedWeights.open(LITTLE, str(good)).fill(encoder)
    other, _ = build_encoder("resnet10t", channels=3, size=64)
    save_file({name: tensor.contiguous() for name, tensor in other.state_dict().items()}, good)
    with pytest.raises(
        StorageError, match=f"another architecture than '{LITTLE}': .* is missing, and .* more differences"
    ):
        PretrainedWeights.open(LITTLE, str(good)).fill(encoder)


def test_weights_that_cannot_be_those_of_the_encoder() -> None:
    with pytest.raises(UsageError, match="No weights package is for the encoder 'efficientnet_lite0'"):
        check_weights("efficientnet_lite0", "package")
    with pytest.raises(UsageError, match="'small' has no published weights"):
        check_weights("small", "hub")
    with pytest.raises(UsageError, match="no weights file 'nowhere.pth'"):
        check_weights(LITTLE, "nowhere.pth")
    with pytest.raises(UsageError, match="no encoder called 'eigth-layer'. Did you mean 'eight-layer'"):
        check_encoder("eigth-layer")


def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    encoder, _ = build_encoder(LITTLE, channels=3, size=64)
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        UsageError, match=r"could not be fetched \(no route to host\)\. Check the network .* --weights package"
    ):
        PretrainedWeights.open(LITTLE, "hub").fill(encoder)


@pytest.mark.parametrize("name", ["small", EIGHT_LAYER, RESIDUAL, LITTLE, "resnet10t"])
def test_frozen_layers_learn_nothing_and_keep_their_statistics(name: str) -> None:
    encoder, _ = build_encoder(name, channels=3, size=32)
    layers = layers_of(encoder)
    assert set(layers) == {key for key, _ in encoder.named_parameters()}
    assert sorted(set(layers.values())) == list(range(max(layers.values()) + 1))
    encoder.train()
    freeze_layers(encoder, 2)
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder(torch.rand(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    of_module = {key.rpartition(".")[0]: layer for key, layer in layers.items()}
    moved = {
        of_module[key.rpartition(".")[0]] for key, t in encoder.state_dict().items() if not torch.equal(t, before[key])
    }
    assert moved and min(moved) == 2
    encoder.train()
    freeze_layers(encoder, max(layers.values()) + 1)
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_necks_by_name() -> None:
    features = torch.rand(5, 40)
    for name in NECKS:
        if name != "conv":
            neck = build_neck(name, LITTLE, 40, 40)
            assert neck(features).shape == (5, 40) and neck(torch.rand(5, 40, 2, 2)).shape == (5, 40)
    with pytest.raises(InputError, match="gives 40 features, but embedding_size is 8"):
        build_neck("bn", LITTLE, 40, 8)
    with pytest.raises(InputError, match="needs a feature map"):
        build_neck("conv", LITTLE, 40, 8)


RUNNING = [(runtime, "small" if runtime == "compiled" else LITTLE) for runtime in available_runtimes()]
"""A compiler takes half a minute for what is little to others."""


@pytest.mark.parametrize(("runtime", "encoder"), RUNNING)
def test_every_runtime_gives_the_embeddings_of_torch(runtime: str, encoder: str) -> None:
    torch.manual_seed(0)
    shape = Preprocessing(64, 3, (0.4,) * 3, (0.3,) * 3)
    model = Recognizer(
        ModelSpec(
            encoder=encoder, embedding_size=16, loss="arcface", loss_options={}, classes=("a", "b"), preprocessing=shape
        )
    ).eval()
    images = torch.randint(0, 256, (7, 3, 64, 64), dtype=torch.uint8)
    expected = model.embed(images)
    model.accelerate(runtime)
    for count in (7, 1, 3):
        found = model.embed(images[:count])
        assert float((found * expected[:count]).sum(axis=1).min()) > 1 - 1e-4
    picture = Image.fromarray(np.zeros((70, 90, 3), np.uint8))
    assert model.embed([picture]).shape == (1, 16)
    model.train()
    assert model._fast is None


@pytest.mark.parametrize("runtime", available_runtimes())
def test_callers_at_the_same_time_get_their_own(runtime: str) -> None:
    encoder, _ = build_encoder("small", channels=3, size=64)
    shape = Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3)
    images = torch.randint(0, 256, (100, 2, 3, 64, 64), dtype=torch.uint8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encode = fast_encoder(encoder.eval(), shape, runtime, callers=2)
        expected = [encode(one) for one in images]
        with ThreadPoolExecutor(2) as pool:
            for found, alone in zip(pool.map(encode, images), expected, strict=True):
                torch.testing.assert_close(found, alone)
    finally:
        torch.set_num_threads(before)


def test_runtimes_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_runtime("auto") == available_runtimes()[0] and "torch" in available_runtimes()
    monkeypatch.setattr("steradian.models.runtimes.available_runtimes", lambda: ("torch",))
    assert chosen_runtime("auto") == "torch"
    for name, words in (
        ("openvino", "install .openvino"),
        ("onnxruntime", "install .*onnxruntime"),
        ("compiled", "needs a C"),
    ):
        with pytest.raises(UsageError, match=words):
            chosen_runtime(name)
    encoder, _ = build_encoder(LITTLE, channels=3, size=64)
    encoder.train()
    fast_encoder(encoder, Preprocessing(64, 3, (0.5,) * 3, (0.5,) * 3), "torch")
    assert encoder.training
