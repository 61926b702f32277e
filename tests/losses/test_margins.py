"""Target logits: monotone where they claim it, exact at the poles, and the wrong ones are noticed."""

from __future__ import annotations

import pytest
import torch

from steradian import losses

MARGINS = {
    "additive angle": losses.AdditiveAngle(0.5),
    "large additive angle": losses.AdditiveAngle(3.0),
    "multiplicative": losses.Multiplicative(4.0),
    "fractional": losses.Multiplicative(1.35),
    "hybrid": losses.SphereThenArc(2.0, 0.4),
    "steep hybrid": losses.SphereThenArc(4.0, 2.0),
    "additive cosine": losses.AdditiveCosine(0.35),
    "combined": losses.Combined(0.9, 0.4, 0.15),
    "combined, steep": losses.Combined(3.0, 1.0, 0.5),
}
NAMES = [name for name in losses.names() if isinstance(losses.create(name, 3, 4), losses.MarginSoftmaxLoss)]
FLAT_AT_LAST = {"sphereface-r": "v1 is flat beyond pi / m, as published"}


@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS.keys())
def test_target_logit_falls_strictly_and_continuously(margin: losses.Margin) -> None:
    theta = torch.linspace(0, torch.pi, 20001, dtype=torch.float64)
    steps = margin.logit(theta).diff()
    assert steps.max() < 0
    assert steps.abs().max() < 5e-3
    slopes = (margin.logit(theta + 1e-7) - margin.logit(theta - 1e-7))[1:-1] / 2e-7
    kinks = (slopes - margin.derivative(theta)[1:-1]).abs() > 1e-5
    assert kinks.sum() <= 2


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_of_the_family_has_a_falling_target_logit(name: str) -> None:
    margin = losses.create(name, 3, 4).margin
    if margin is None:
        return
    if isinstance(margin, losses.AdaptiveMargin):
        margin = margin.typical()
    theta = torch.linspace(0, torch.pi, 20001, dtype=torch.float64)
    steps = margin.logit(theta).diff()
    assert steps.max() <= 0 if name in FLAT_AT_LAST else steps.max() < 0


CONTROLS = {
    "plain cos(theta+m)": losses.AdditiveAngle(0.5, past_pi="plain"),
    "cos(1.35 theta)": losses.Multiplicative(1.35, past_pi="plain"),
    "easy margin": losses.AdditiveAngle(0.5, easy_margin=True),
    "easy cosine": losses.AdditiveCosine(0.35, easy_margin=True),
    "FaceX-Zoo and system B: no margin past pi": losses.AdditiveAngle(0.4, past_pi="base"),
}


@pytest.mark.parametrize("margin", CONTROLS.values(), ids=CONTROLS.keys())
def test_negative_controls_are_not_monotone(margin: losses.Margin) -> None:
    theta = torch.linspace(0, torch.pi, 20001, dtype=torch.float64)
    assert margin.logit(theta).diff().max() > 0


def test_known_values_past_pi() -> None:
    """LOSSES 2.5 at m = 0.5: the linear rule jumps from -1 down to -1.1173 and ends at -1.2397; easy jumps by sin m."""
    last = torch.tensor([torch.pi - 0.5 + 1e-12, torch.pi], dtype=torch.float64)
    known = torch.tensor([-1.1173, -1.2397], dtype=torch.float64)
    torch.testing.assert_close(losses.AdditiveAngle(0.5, "linear").logit(last), known, rtol=0, atol=1e-4)
    around = torch.tensor([torch.pi / 2 - 1e-12, torch.pi / 2 + 1e-12], dtype=torch.float64)
    jump = losses.AdditiveAngle(0.5, easy_margin=True).logit(around).diff()
    assert jump.item() == pytest.approx(0.479, abs=1e-3)
    assert losses.AdditiveAngle(0.5, "clamp").logit(last)[1].item() == -1.0


@pytest.mark.parametrize("past_pi", ["extend", "linear", "base", "plain", "clamp"])
@pytest.mark.parametrize("easy", [False, True])
def test_derivatives_are_those_of_the_values(past_pi: str, easy: bool) -> None:
    margin = losses.AdditiveAngle(0.5, past_pi, easy)
    theta = torch.linspace(0.01, 3.13, 400, dtype=torch.float64)
    slopes = (margin.logit(theta + 1e-7) - margin.logit(theta - 1e-7)) / 2e-7
    assert ((slopes - margin.derivative(theta)).abs() > 1e-5).sum() <= 2


@pytest.mark.parametrize("name", [name for name in NAMES if losses.create(name, 3, 4).margin is not None])
def test_value_is_exact_and_gradient_bounded_at_cosine_one(name: str) -> None:
    margin = losses.create(name, 3, 4).margin
    margin = margin.typical() if isinstance(margin, losses.AdaptiveMargin) else margin
    for cosine in (1.0, -1.0):
        c = torch.tensor([cosine], dtype=torch.float64, requires_grad=True)
        value = losses.margins.apply(margin, c)
        theta = torch.tensor([0.0 if cosine > 0 else torch.pi], dtype=torch.float64)
        torch.testing.assert_close(value.detach(), margin.logit(theta), rtol=0, atol=1e-12)
        value.sum().backward()
        near = torch.tensor([abs(cosine) - 1e-14], dtype=torch.float64) * cosine
        near.requires_grad_()
        losses.margins.apply(margin, near).sum().backward()
        assert torch.isfinite(c.grad).all()
        if near.grad.item() == 0.0:
            assert c.grad.item() == 0.0
        else:
            # The limit: of the same size as next to it, within the factor that the clamped sine allows.
            assert 0.05 < (c.grad / near.grad).item() < 20


def test_multiplicative_gradient_at_zero_is_m_squared() -> None:
    c = torch.ones(1, dtype=torch.float64, requires_grad=True)
    losses.margins.apply(losses.Multiplicative(4.0), c).sum().backward()
    torch.testing.assert_close(c.grad.item(), 16.0, rtol=1e-6, atol=0)


def test_magface_gradient_reaches_the_norm() -> None:
    """The norm is pulled by margin and g together: <x, dL/dx> = |x| dL/d|x| is not 0 within [l_a, u_a]."""
    x = 20.0 * torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64))
    loss = losses.create("magface", 3, 3).double()
    x.requires_grad_()
    loss(x, torch.tensor([0, 1, 2, 0])).backward()
    assert ((x.grad * x).sum(dim=1).abs() > 1e-6).all()
    far = (10.0 * x.detach()).requires_grad_()
    loss(far, torch.tensor([0, 1, 2, 0])).backward()
    assert (far.grad * far).sum(dim=1).abs().max() < 1e-9, "beyond u_a the clamp stops it"
    # g is smallest at u_a: its slope there is 0 (LOSSES 2.8).
    reward = losses.NormReward()
    at = torch.tensor([[110.0 - 1e-9, 0.0]], dtype=torch.float64, requires_grad=True)
    reward(at, torch.tensor([0])).backward()
    assert at.grad.abs().max() < 1e-6


def test_elastic_plus_gives_the_largest_margin_to_the_hardest() -> None:
    cosine = torch.tensor([[0.9], [-0.5], [0.3]], dtype=torch.float64)
    margin = losses.ElasticArcMargin(std=0.3, variant="plus").for_batch(torch.ones(3, 1), torch.zeros(3).long(), cosine)
    drawn = margin.margin.flatten().tolist()
    assert drawn[0] < drawn[2] < drawn[1]


@pytest.mark.parametrize("quality", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_adaface_never_rises_and_falls_strictly_when_extended(quality: float) -> None:
    """As published the angle is clamped, so for very low and very high norms the logit is flat near pi or 0."""
    theta = torch.linspace(0, torch.pi, 20001, dtype=torch.float64)[:, None]
    norms = torch.full((len(theta), 1), 20.0 + quality * 50.0 / 0.333, dtype=torch.float64).clamp(0.001, 100)
    for past_pi in ("clamp", "extend"):
        dial = losses.AdaFaceMargin(h=0.333, t_alpha=0.0, past_pi=past_pi).double()
        dial.norm_std.fill_(50.0 if quality <= 0.5 else 20.0)
        steps = dial.for_batch(norms, torch.zeros(len(theta)).long(), torch.cos(theta)).logit(theta).diff(dim=0)
        assert steps.max() <= 0 if past_pi == "clamp" else steps.max() < 0
