"""The encoder without timm is timm's model: same names, same layers, same numbers."""

import pytest
import timm
import torch

from steradian.errors import InputError
from steradian.models.efficientnet_lite import EfficientNetLite
from steradian.models.encoders import build_encoder, layers_of
from steradian.models.weight_packages import PACKAGES


@pytest.fixture(params=list(PACKAGES))
def pair(request):
    package = PACKAGES[request.param]
    torch.manual_seed(0)
    theirs = timm.create_model(package.encoder, num_classes=0)
    ours = EfficientNetLite(package.blocks, package.width_factor)
    for buffer in theirs.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs, torch.rand(2, 3, 97, 130)


def test_output_is_that_of_timm_bit_for_bit(pair):
    ours, theirs, images = pair
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))
        for count in (1, 3, 5):
            final, maps = ours.forward_intermediates(images, indices=count)
            expected, their_maps = theirs.forward_intermediates(images, indices=count)
            assert torch.equal(final, expected)
            assert ours.sizes(count) == (*(part.shape[1] for part in maps), 1280)
            assert len(maps) == count and all(map(torch.equal, maps, their_maps))


@pytest.mark.parametrize("name", list(PACKAGES))
def test_random_weights_are_distributed_as_those_of_timm(name):
    package = PACKAGES[name]
    theirs = timm.create_model(package.encoder, num_classes=0).state_dict()
    ours = EfficientNetLite(package.blocks, package.width_factor).state_dict()
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        if tensor.numel() > 20_000:
            assert tensor.std().item() == pytest.approx(theirs[key].std().item(), rel=0.05), key


def test_training_is_that_of_timm(pair):
    ours, theirs, images = pair
    for model in (ours, theirs):
        model.train()(images).square().sum().backward()
    for (name, own), (their_name, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        assert torch.equal(own.grad, other.grad), name
    for own, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(own, other)


def test_layers_are_those_of_timm(pair):
    ours, theirs, _ = pair
    assert layers_of(ours) == layers_of(theirs)


def test_more_stages_than_there_are() -> None:
    with pytest.raises(InputError, match="has 5 stages, but stages is 6"):
        build_encoder("tf_efficientnet_lite0", channels=3, size=96, stages=6)


def test_gray_images_and_other_poolings_are_left_to_timm():
    encoder, features = build_encoder("tf_efficientnet_lite0", channels=3, size=96)
    assert isinstance(encoder, EfficientNetLite) and features == 1280
    for settings in ({"channels": 1}, {"channels": 3, "pooling": "gem"}):
        encoder, features = build_encoder("tf_efficientnet_lite0", size=96, **settings)
        assert not isinstance(encoder, EfficientNetLite) and features == 1280
