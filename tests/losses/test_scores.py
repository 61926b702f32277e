"""System A's hyperspherical softmax: what a strictly increasing score can and cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steradian import losses


def trained(score: nn.Module, target, steps: int = 1500) -> float:
    """Root mean square error after fitting ``target`` on [-1, 1]."""
    c = torch.linspace(-1, 1, 200)[:, None].squeeze(1)
    optimizer = torch.optim.Adam(score.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        (score(c) - target(c)).square().mean().backward()
        optimizer.step()
    return float((score(c) - target(c)).square().mean().sqrt().detach())


class ConvexScore(nn.Module):
    """The control: ReLU units with positive weights, which can only be convex."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 16), nn.Linear(16, 1)

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(nn.functional.linear(c[:, None], self.first.weight.exp(), self.first.bias))
        return nn.functional.linear(hidden, self.second.weight.exp(), self.second.bias).squeeze(1)


def saturating(c: torch.Tensor) -> torch.Tensor:
    return 3.0 * torch.tanh(4.0 * c)


def test_strict_score_fits_a_curve_that_is_not_convex() -> None:
    torch.manual_seed(0)
    offset = nn.Parameter(torch.zeros(()))
    score = losses.StrictScore(slope=1.0)

    class Shifted(nn.Module):
        """Softmax does not see a constant, so the score has none; a curve to fit does."""

        def __init__(self) -> None:
            super().__init__()
            self.score, self.offset = score, offset

        def forward(self, c: torch.Tensor) -> torch.Tensor:
            return self.score(c) + self.offset

    assert trained(Shifted(), saturating) < 0.05
    assert trained(ConvexScore(), saturating) > 0.3


@pytest.mark.parametrize("variant", ["strict", "v1"])
def test_strictly_increasing_everywhere_after_training(variant: str) -> None:
    torch.manual_seed(0)
    loss = losses.create("hyperspherical", 6, 3, variant=variant)
    x, y = torch.randn(64, 3), torch.randint(0, 6, (64,))
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    curve = loss.double().score(torch.linspace(-1, 1, 10_001, dtype=torch.float64)).detach()
    assert curve.diff().min() > 0


def test_projected_score_does_not_fall_but_has_flat_stretches() -> None:
    torch.manual_seed(0)
    score = losses.ProjectedScore()
    score.project()
    curve = score(torch.linspace(-1, 1, 1001)).detach()
    assert curve.diff().min() >= 0
    assert (curve.diff() == 0).any(), "with zero biases nothing below cosine 0 gets through the first ReLU6"
    assert all((layer.weight >= 0).all() for layer in (score.first, score.second, score.third))


def test_ranks_equal_those_of_the_cosine() -> None:
    torch.manual_seed(0)
    loss = losses.create("hyperspherical", 20, 5)
    x = torch.randn(50, 5)
    assert torch.equal(loss.logits(x).argsort(dim=1), loss.cosines(x).argsort(dim=1))


def test_weights_of_the_strict_score_are_positive_by_construction() -> None:
    """However far the parameters go, the curve rises: nothing is projected."""
    score = losses.StrictScore().double()
    with torch.no_grad():
        for parameter in score.parameters():
            parameter.copy_(torch.randn_like(parameter) * 5.0)
    assert score(torch.linspace(-1, 1, 2001, dtype=torch.float64)).diff().min() > 0


def test_fixed_prototypes_are_the_simplex_and_do_not_move() -> None:
    loss = losses.create("prototypes", 5, 4)
    unit = loss.weight
    off = (unit @ unit.T)[~torch.eye(5, dtype=torch.bool)]
    torch.testing.assert_close(off, torch.full_like(off, -0.25), rtol=0, atol=1e-5)
    assert not list(loss.parameters())
    fixed = losses.MarginSoftmaxLoss(
        5, 4, score=losses.StrictScore(), scale=1.0, centers=losses.spread_directions(5, 4)
    )
    assert "weight" in dict(fixed.named_buffers()) and "weight" not in dict(fixed.named_parameters())


@pytest.mark.parametrize("variant", ["strict", "v1", "v3"])
def test_a_score_can_be_exported(variant: str) -> None:
    loss = losses.create("hyperspherical", 6, 3, variant=variant).eval()
    cosine = torch.linspace(-1, 1, 7)
    exported = torch.export.export(loss.score, (cosine,))
    torch.testing.assert_close(exported.module()(cosine), loss.score(cosine))
