"""An image is looked at closer and in a mirror, and the embeddings are averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from steradian import Recognizer
from steradian.data import Preprocessing
from steradian.models import ModelSpec
from steradian.models.looks import looks


def spec(**options: object) -> ModelSpec:
    shape = Preprocessing(20, 3, (0.5,) * 3, (0.5,) * 3)
    return ModelSpec(
        encoder="eight-layer", embedding_size=4, loss="softmax", loss_options={}, classes=("a", "b"),
        preprocessing=shape, **options,
    )  # fmt: skip


def test_views_are_the_middle_enlarged_and_mirrored() -> None:
    samples = torch.rand(2, 3, 20, 20)
    (alone,) = looks(samples, False, ())
    assert alone is samples
    plain, mirror, close, close_mirror = looks(samples, True, (1.0, 0.5))
    assert plain is samples and torch.equal(mirror, samples.flip(3)) and torch.equal(close_mirror, close.flip(3))
    enlarged = torch.nn.functional.interpolate(samples[:, :, 5:15, 5:15], size=20, mode="bilinear")
    assert torch.allclose(close, enlarged) and not torch.allclose(close, samples)


def test_the_embedding_is_the_mean_over_the_views(tmp_path: Path) -> None:
    torch.manual_seed(3)
    one = Recognizer(spec()).eval()
    many = Recognizer(spec(flip_tta=True, zooms=(1.0, 0.8))).eval()
    many.load_state_dict(one.state_dict())
    pixels = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    views = [one.raw_embeddings(view) for view in looks(pixels.float() / 255.0, True, (1.0, 0.8))]
    assert torch.allclose(many.raw_embeddings(pixels), torch.stack(views).mean(dim=0), atol=1e-6)
    assert not torch.allclose(many.raw_embeddings(pixels), one.raw_embeddings(pixels), atol=1e-5)
    assert one.save(tmp_path / "one").id != many.save(tmp_path / "many").id
    again = Recognizer.load(tmp_path / "many")
    assert again.spec.zooms == (1.0, 0.8) and np.allclose(again.embed(pixels), many.embed(pixels))


def test_zooms_that_cannot_be() -> None:
    for zooms in ((0.0,), (1.5,), (0.5,) * 9):
        with pytest.raises(ValidationError):
            spec(zooms=zooms)
