"""Own encoders and ends of encoders: their published sizes, shapes and formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from steradian.data import Preprocessing
from steradian.errors import InputError
from steradian.models import ModelSpec, Recognizer
from steradian.models.dlib_resnet import SMALLEST
from steradian.models.encoders import DLIB_FACE, MOBILE_FACE, OWN, build_encoder, freeze_layers, layers_of
from steradian.models.necks import build_neck
from steradian.models.pooling import GeneralizedMean
from steradian.models.pretrained import PretrainedWeights
from steradian.models.weight_packages import PACKAGED


@pytest.mark.parametrize("name", list(OWN))
@pytest.mark.parametrize("size", [8, 33])
def test_every_own_encoder_gives_what_it_says_and_freezes_layer_by_layer(name: str, size: int) -> None:
    channels, size = (3, SMALLEST + size - 8) if name == DLIB_FACE else (1, size)
    encoder, count = build_encoder(name, channels=channels, size=size)
    found = encoder(torch.rand(3, channels, size, size))
    assert found.shape[:2] == (3, count)
    layers = layers_of(encoder)
    assert set(layers) == {key for key, _ in encoder.named_parameters()}
    assert sorted(set(layers.values())) == list(range(max(layers.values()) + 1))
    freeze_layers(encoder.train(), 2)
    assert all(encoder.get_parameter(key).requires_grad == (layer >= 2) for key, layer in layers.items())


def test_mobile_face_is_the_published_net() -> None:
    """0.99 million parameters with its 128 dimensions (Chen et al. 2018, table 1), a 7 x 7 map at 112 px."""
    encoder, count = build_encoder(MOBILE_FACE, channels=3, size=112)
    neck = build_neck("auto", MOBILE_FACE, count, 128)
    total = sum(parameter.numel() for module in (encoder, neck) for parameter in module.parameters())
    assert 0.98e6 < total < 1.01e6
    assert encoder.layers[-1][0].weight.shape == (512, 1, 7, 7)
    assert encoder.eval()(torch.rand(1, 3, 112, 112)).shape == (1, 512)


def test_the_generalized_mean_is_its_formula() -> None:
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    for power in (1.0, 3.0, 60.0):
        pool = GeneralizedMean().double()
        pool.gem_power.data.fill_(power)
        wanted = (features.numpy() ** power).mean(axis=(2, 3)) ** (1 / power)
        np.testing.assert_allclose(pool(features)[..., 0, 0].detach().numpy(), wanted, rtol=1e-9)
    assert torch.autograd.gradcheck(GeneralizedMean().double(), (features + 0.1).requires_grad_())
    largest = GeneralizedMean()
    largest.gem_power.data.fill_(80.0)
    ratio = largest(features.float())[..., 0, 0] / features.float().amax(dim=(2, 3))
    assert (ratio > 0.95).all() and (ratio <= 1.0).all()


@pytest.mark.parametrize("stages", [0, 2])
@pytest.mark.parametrize("pooling", ["max", "gem"])
def test_pooling_is_used_learned_saved_and_taken_over(pooling: str, stages: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = Preprocessing(32, 3, (0.5,) * 3, (0.5,) * 3)
    spec = ModelSpec(
        encoder=PACKAGED,
        embedding_size=8,
        loss="normface",
        loss_options={},
        classes=("a", "b"),
        preprocessing=shape,
        stages=stages,
        pooling=pooling,
    )
    model = Recognizer(spec)
    PretrainedWeights.open(PACKAGED, "package").fill(model.encoder)
    plain = Recognizer(
        ModelSpec(
            encoder=PACKAGED,
            embedding_size=8,
            loss="normface",
            loss_options={},
            classes=("a", "b"),
            preprocessing=shape,
            stages=stages,
        )
    )
    PretrainedWeights.open(PACKAGED, "package").fill(plain.encoder)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        found, average = (one.eval().encoder(images) for one in (model, plain))
    # At 32 px the last map is 1 x 1 only for the final features of a strided net; averages of stages stay averages.
    assert found.shape == average.shape
    pool = next(part for part in model.encoder.modules() if type(part).__name__ == "SelectAdaptivePool2d")
    wide = torch.rand(1, 5, 3, 3)
    assert torch.equal(pool(wide)[0], wide.amax(dim=(2, 3))[0]) == (pooling == "max")
    if pooling == "gem":
        torch.testing.assert_close(pool(wide)[0], wide.pow(3).mean(dim=(2, 3)).pow(1 / 3)[0])
        layers = layers_of(model.encoder)
        powers = [key for key in layers if key.endswith("gem_power")]
        assert len(powers) == 1 and layers[powers[0]] == max(layers.values())
    model.save(tmp_path / "model")
    again = Recognizer.load(tmp_path / "model")
    assert again.spec.pooling == pooling
    np.testing.assert_allclose(again.embed(images), model.embed(images), rtol=1e-5, atol=1e-6)


def test_encoders_without_an_average_are_refused() -> None:
    for name in ("vit_tiny_patch16_224", "small"):
        with pytest.raises(InputError, match="pooling: average"):
            build_encoder(name, channels=3, size=224, pooling="gem")
