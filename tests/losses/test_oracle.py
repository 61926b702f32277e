"""Formula = code = gradient: every preset of the softmax family against float64 references."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import oracle

from steradian import losses

SOFTMAX_FAMILY = sorted(oracle.TARGETS)


def case(embedding_size: int = 5, count: int = 9, num_classes: int = 7, spread: float = 1.0):
    generator = torch.Generator().manual_seed(1)
    x = spread * torch.randn(count, embedding_size, generator=generator, dtype=torch.float64)
    y = torch.randint(0, num_classes, (count,), generator=generator)
    return x, y


def both(name: str, x: torch.Tensor, y: torch.Tensor, num_classes: int = 7):
    """(value, dX, dW) of ours and of the oracle."""
    options, target, scale = oracle.TARGETS[name]
    loss = losses.create(name, num_classes, x.shape[1], **options).double()
    ours = x.clone().requires_grad_()
    value = loss(ours, y)
    value.backward()
    theirs, weight = x.clone().requires_grad_(), loss.weight.detach().clone().requires_grad_()
    expected = oracle.margin_softmax(theirs, weight, y, target, scale)
    expected.backward()
    return (value.detach(), ours.grad, loss.weight.grad), (expected.detach(), theirs.grad, weight.grad)


@pytest.mark.parametrize("name", SOFTMAX_FAMILY)
@pytest.mark.parametrize("embedding_size", [2, 5])
def test_value_and_gradients_equal_the_oracle(name: str, embedding_size: int) -> None:
    x, y = case(embedding_size)
    for found, expected in zip(*both(name, x, y), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SOFTMAX_FAMILY)
def test_rows_beyond_pi_equal_the_oracle(name: str) -> None:
    loss = losses.create(name, 7, 5).double()
    y = torch.arange(7)
    x = -loss.weight.detach() + 0.05 * torch.randn(7, 5, dtype=torch.float64)
    for found, expected in zip(*both(name, x, y), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SOFTMAX_FAMILY)
def test_gradient_equals_finite_differences(name: str) -> None:
    x, y = case(3, 4)
    loss = losses.create(name, 7, 3, **({"lambda_base": 0.0} if name == "sphereface" else {})).double()
    assert torch.autograd.gradcheck(lambda e: loss(e, y), (x.requires_grad_(),), eps=1e-6, atol=1e-6)


def test_oracle_notices_a_wrong_margin() -> None:
    x, y = case()
    _, target, scale = oracle.TARGETS["arcface"]
    loss = losses.create("arcface", 7, 5, margin=0.49).double()
    expected = oracle.margin_softmax(x, loss.weight, y, target, scale)
    assert not torch.allclose(loss(x, y), expected, rtol=1e-4)


def test_softmax_is_linear_cross_entropy() -> None:
    x, y = case()
    loss = losses.create("softmax", 7, 5).double()
    with torch.no_grad():
        loss.weight.mul_(torch.linspace(0.5, 3, 7, dtype=torch.float64)[:, None])
        loss.bias.copy_(torch.linspace(-1, 1, 7))
    expected = torch.nn.functional.cross_entropy(x @ loss.weight.T + loss.bias, y)
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-12, atol=0)


def test_detached_gradient_is_that_of_the_plain_cosine() -> None:
    """The straight-through gradient: dL/dcos_y = s (p_y - 1) with p of the margined logits."""
    x, y = case(count=1)
    loss = losses.create("arcface", 7, 5, gradient="detached").double()
    cosine = (torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(loss.weight.detach()).T).requires_grad_()
    logits = 64.0 * cosine.detach().clone()
    logits[0, y] = 64.0 * torch.cos(torch.acos(cosine[0, y].detach()) + 0.5)
    slopes = 64.0 * (torch.softmax(logits, 1) - torch.nn.functional.one_hot(y, 7))
    ours = x.clone().requires_grad_()
    loss(ours, y).backward()
    theirs = x.clone().requires_grad_()
    plain = torch.nn.functional.normalize(theirs) @ torch.nn.functional.normalize(loss.weight.detach()).T
    plain.backward(slopes)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


def test_exact_and_detached_differ_by_the_known_factor() -> None:
    """d cos(theta + m) / d cos(theta) = sin(theta + m) / sin(theta): 5.66 at 0.1 rad, 1.755 at 0.5 (LOSSES 2.5)."""
    theta = torch.tensor([0.01, 0.1, 0.5, 1.0, 1.5, 2.5], dtype=torch.float64)
    cosine = torch.cos(theta).requires_grad_()
    losses.margins.apply(losses.AdditiveAngle(0.5), cosine).sum().backward()
    known = torch.tensor([48.8, 5.66, 1.755, 1.185, 0.912, 0.236], dtype=torch.float64)
    torch.testing.assert_close(cosine.grad, known, rtol=2e-3, atol=0)


def test_autocast_agrees_with_float32() -> None:
    x, y = case()
    loss = losses.create("arcface", 7, 5)
    plain = loss(x.float(), y)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            torch.testing.assert_close(loss(x.float(), y), plain, rtol=0, atol=0)
