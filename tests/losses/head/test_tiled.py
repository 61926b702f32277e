"""Every loss of the softmax family is the same function of embeddings and weights, however the classes are passed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
import oracle

from steradian import losses
from steradian.errors import UnwiseOption
from steradian.losses.head.sinks import InPlace

FAMILY = [
    label
    for label, (name, _, _) in oracle.CASES.items()
    if "head" in losses.preset(name).options()
]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(label: str, head: str, classes: int = 11, size: int = 5, **more):
    name, options, _ = oracle.CASES[label]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnwiseOption)
        options = {key: value for key, value in options.items() if key != "class_counts"}
        return losses.create(name, classes, size, head=head, **options, **more)


def tiled(loss: losses.MarginSoftmaxLoss, count: int, tile: int, kept: int) -> losses.MarginSoftmaxLoss:
    """The loss with tiles of this many classes, of which so many are kept, for any batch."""
    plan = replace(loss.plan(count), tile=tile, kept=kept)
    assert plan.path == "tiled"
    loss.engine.plan = lambda *_: plan  # type: ignore[method-assign]
    return loss


def batch(count: int, size: int, classes: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 3.0 * torch.randn(count, size, generator=generator)
    return x, torch.randint(0, classes, (count,), generator=generator)


def gradients(loss: losses.MarginSoftmaxLoss, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    loss.zero_grad()
    torch.manual_seed(5)
    value = loss(x, y)
    value.backward()
    found = {name: parameter.grad for name, parameter in loss.named_parameters()}
    return {"value": value.detach(), "x": x.grad, **found}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float = 1e-10) -> None:
    assert found.keys() == wanted.keys()
    for name, expected in wanted.items():
        size = max(1e-6, float(expected.abs().max()))
        torch.testing.assert_close(found[name] / size, expected / size, rtol=0, atol=tolerance, msg=lambda m: f"{name}: {m}")


def two_ways(label: str, x, y, classes: int, tile: int, kept: int, **more):
    dense = gradients(make(label, "dense", classes, x.shape[1], **more), x, y)
    loss = tiled(make(label, "tiled", classes, x.shape[1], **more), len(x), tile, kept)
    return gradients(loss, x, y), dense


@pytest.mark.parametrize("kept", [0, 2, 9])
@pytest.mark.parametrize("label", FAMILY)
def test_tiles_give_the_loss_and_the_gradients_of_the_whole_matrix(label: str, kept: int) -> None:
    x, y = batch(7, 5, 11)
    same(*two_ways(label, x, y, 11, 4, kept))


@pytest.mark.parametrize("label", [label for label in FAMILY if "label_smoothing" in losses.preset(oracle.CASES[label][0]).options()])
def test_label_smoothing_streams_too(label: str) -> None:
    x, y = batch(7, 5, 11)
    if "label_smoothing" in oracle.CASES[label][1]:
        pytest.skip("has its own")
    same(*two_ways(label, x, y, 11, 4, 1, label_smoothing=0.2))
