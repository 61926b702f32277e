"""What every loss owes, over the whole registry (LOSSES, "Tests that every loss owes")."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian import losses
from steradian.errors import InputError, UsageError

ALL = losses.names()
SOFTMAX_FAMILY = [name for name in ALL if name not in ("triplet", "contrastive")]
NORMALIZED = [name for name in ALL if name not in ("softmax", "sphereface")]
FIXED_SCALE = [name for name in SOFTMAX_FAMILY if name not in ("softmax", "sphereface")]


def batch(count: int = 12, size: int = 4, classes: int = 5, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, size, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(0, classes, (count,), generator=generator)


@pytest.mark.parametrize("name", ALL)
def test_one_signature_for_every_name(name: str) -> None:
    x, y = batch()
    loss = losses.create(name, num_classes=5, embedding_size=4)
    value = loss(x, y)
    assert value.shape == () and value.dtype == torch.float32 and torch.isfinite(value)


@pytest.mark.parametrize("name", SOFTMAX_FAMILY)
def test_weight_and_logits(name: str) -> None:
    x, _ = batch()
    loss = losses.create(name, num_classes=5, embedding_size=4)
    assert loss.weight.shape == (5, 4) and isinstance(loss.weight, torch.nn.Parameter)
    assert loss.logits(x).shape == (12, 5)


@pytest.mark.parametrize("name", NORMALIZED)
def test_gradient_is_orthogonal_and_scale_does_not_matter(name: str) -> None:
    x, y = batch(dtype=torch.float64)
    loss = losses.create(name, 5, 4).double()
    x.requires_grad_()
    value = loss(x, y)
    value.backward()
    assert (x.grad * x).sum(dim=1).abs().max() < 1e-10
    torch.testing.assert_close(loss(7.3 * x, y), value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SOFTMAX_FAMILY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [64.0, 80.0, 256.0])
def test_finite_at_every_edge(name: str, dtype: torch.dtype, scale: float) -> None:
    options = {"scale": scale} if name in FIXED_SCALE else {}
    for size in (2, 4):
        loss = losses.create(name, 5, size, **options)
        own = loss.weight.detach()
        edges = torch.cat([own, -own, torch.zeros(1, size), own[:1], own[:1], 1e-8 * own[:1], 1e4 * own[:1]])
        labels = torch.cat([torch.arange(5), torch.arange(5), torch.tensor([2, 0, 0, 0, 0])])
        for rows in (slice(None), slice(0, 1), slice(5, 6), slice(10, 11)):
            x = edges[rows].to(dtype).clone().requires_grad_()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                value = loss(x, labels[rows])
            value.backward()
            assert torch.isfinite(value), (name, rows)
            assert torch.isfinite(x.grad).all() and torch.isfinite(loss.weight.grad).all(), (name, rows)


@pytest.mark.parametrize("name", ["triplet", "contrastive"])
def test_pair_losses_are_finite_at_every_edge(name: str) -> None:
    for x in (torch.zeros(4, 3), torch.ones(4, 3), torch.eye(4, 3), torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])):
        for y in (torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), torch.arange(len(x)) // 2):
            points = x.clone().requires_grad_()
            value = losses.create(name, 5, 3)(points, y)
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(points.grad).all()


@pytest.mark.parametrize("name", ["arcface", "sphere-arc", "sphereface"])
def test_value_is_exact_and_gradient_bounded_at_cosine_one(name: str) -> None:
    margin = losses.preset(name).dials["margin"]()
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
        # The limit: of the same size as next to it, within the factor that the clamped sine allows.
        assert 0.05 < (c.grad / near.grad).item() < 20


def test_multiplicative_gradient_at_zero_is_m_squared() -> None:
    c = torch.ones(1, dtype=torch.float64, requires_grad=True)
    losses.margins.apply(losses.Multiplicative(4.0), c).sum().backward()
    torch.testing.assert_close(c.grad.item(), 16.0, rtol=1e-6, atol=0)


MARGINS = {
    "additive angle": losses.AdditiveAngle(0.5),
    "large additive angle": losses.AdditiveAngle(3.0),
    "multiplicative": losses.Multiplicative(4.0),
    "fractional": losses.Multiplicative(1.35),
    "hybrid": losses.SphereThenArc(2.0, 0.4),
    "steep hybrid": losses.SphereThenArc(4.0, 2.0),
    "additive cosine": losses.AdditiveCosine(0.35),
}


@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS.keys())
def test_target_logit_falls_strictly_and_continuously(margin: losses.Margin) -> None:
    theta = torch.linspace(0, torch.pi, 20001, dtype=torch.float64)
    steps = margin.logit(theta).diff()
    assert steps.max() < 0
    assert steps.abs().max() < 5e-3
    slopes = (margin.logit(theta + 1e-7) - margin.logit(theta - 1e-7))[1:-1] / 2e-7
    kinks = (slopes - margin.derivative(theta)[1:-1]).abs() > 1e-5
    assert kinks.sum() <= 2


@pytest.mark.parametrize(
    "curve",
    [
        lambda t: torch.cos(t + 0.5),
        lambda t: torch.cos(1.35 * t),
        lambda t: torch.where(t <= torch.pi / 2, torch.cos(t + 0.5), torch.cos(t)),
        lambda t: torch.where(t + 0.4 <= torch.pi, torch.cos(t + 0.4), torch.cos(t)),
    ],
    ids=["plain cos(theta+m)", "cos(1.35 theta)", "easy margin", "system B's rule"],
)
def test_negative_controls_are_not_monotone(curve) -> None:
    theta = torch.linspace(0, torch.pi, 20001, dtype=torch.float64)
    assert curve(theta).diff().max() > 0


def value_of(name: str, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, **options) -> torch.Tensor:
    loss = losses.create(name, len(weight), weight.shape[1], **options).double()
    with torch.no_grad():
        loss.weight.copy_(weight)
    return loss(x, y).detach()


def test_reductions() -> None:
    x, y = batch(dtype=torch.float64)
    weight = torch.randn(5, 4, dtype=torch.float64)
    norm = value_of("normface", x, y, weight, scale=16.0)
    for name, zero in (("arcface", {"margin": 0.0}), ("cosface", {"margin": 0.0}), ("sphere-arc", {"m_s": 1.0})):
        torch.testing.assert_close(value_of(name, x, y, weight, scale=16.0, **zero), norm)
    torch.testing.assert_close(value_of("sphere-arc", x, y, weight, scale=16.0, m_a=0.0), norm)
    plain = {"lambda_base": 0.0, "lambda_min": 0.0, "scale": 16.0}
    torch.testing.assert_close(value_of("sphereface", x, y, weight, margin=1.0, **plain), norm)
    sphere = value_of("sphereface", x, y, weight, margin=2.0, **plain)
    torch.testing.assert_close(value_of("sphere-arc", x, y, weight, scale=16.0, m_s=2.0, m_a=100.0), sphere)
    arc = value_of("arcface", x, y, weight, scale=16.0, margin=0.3)
    torch.testing.assert_close(value_of("sphere-arc", x, y, weight, scale=16.0, m_s=1e6, m_a=0.3), arc)
    huge = value_of("sphereface", x, y, weight, lambda_base=1e12, lambda_min=1e12, scale=16.0)
    torch.testing.assert_close(huge, norm)


def test_emphasis_and_weighting_dials_fit() -> None:
    """Support vectors and focal weighting, written here from their formulas, plug into the module as it is."""

    def support_vectors(cosine: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.where(cosine > target, 1.2 * cosine + 0.2, cosine)

    def focal(value: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        return ((1 - probability) ** 2 * value).mean()

    x, y = batch(dtype=torch.float64)
    loss = losses.MarginSoftmaxLoss(5, 4, margin=losses.AdditiveAngle(0.3), scale=8.0).double()
    cosine = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(loss.weight.detach()).T
    rows = []
    for row, label in zip(cosine, y, strict=True):
        target = torch.cos(torch.acos(row[label]) + 0.3)
        logits = [target if j == label else (1.2 * c + 0.2 if c > target else c) for j, c in enumerate(row)]
        p = torch.softmax(8.0 * torch.stack(logits), 0)[label]
        rows.append(-((1 - p) ** 2) * torch.log(p))
    composed = losses.MarginSoftmaxLoss(
        5, 4, margin=losses.AdditiveAngle(0.3), emphasis=support_vectors, weighting=focal, scale=8.0
    ).double()
    composed.load_state_dict(loss.state_dict())
    torch.testing.assert_close(composed(x, y).detach(), torch.stack(rows).mean())


@pytest.mark.parametrize("name", SOFTMAX_FAMILY)
def test_eval_is_margin_free_and_moves_nothing(name: str) -> None:
    x, y = batch()
    loss = losses.create(name, 5, 4).eval()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    expected = torch.nn.functional.cross_entropy(loss.logits(x), y)
    torch.testing.assert_close(loss(x, y), expected)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())


def test_annealing_counts_in_a_buffer_that_survives_saving() -> None:
    x, y = batch()
    loss = losses.create("sphereface", 5, 4)
    for _ in range(3):
        loss(x, y)
    again = losses.create("sphereface", 5, 4)
    again.load_state_dict(loss.state_dict())
    assert int(again.iteration) == 3
    torch.testing.assert_close(loss(x, y), again(x, y))
    annealing = losses.LambdaAnnealing()
    assert annealing.strength(1) == pytest.approx(1 / (1 + 1000 / 1.12))
    assert annealing.strength(10**9) == pytest.approx(1 / 6)


def test_loss_does_not_saturate() -> None:
    loss = losses.create("normface", 3, 2, scale=200.0)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    assert loss(torch.tensor([[-1.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(400.0)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 9),
    size=st.integers(1, 6),
    classes=st.integers(1, 9),
    name=st.sampled_from(ALL),
    seed=st.integers(0, 999),
)
def test_any_shape_is_finite(count: int, size: int, classes: int, name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, generator=generator).requires_grad_()
    y = torch.randint(0, classes, (count,), generator=generator)
    value = losses.create(name, classes, size)(x, y)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(2, 4), torch.tensor([0, 5]), "label 5 in row 1 is outside 0..4"),
        (torch.zeros(2, 4), torch.tensor([-1, 0]), "label -1 in row 0"),
        (torch.zeros(2, 4), torch.tensor([0, 1], dtype=torch.int32), "int64"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), "embedding_size=4"),
        (torch.zeros(2, 4), torch.tensor([0]), "2 embeddings came with 1 labels"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), "empty"),
        (torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 1]), "float tensor"),
    ],
)
def test_wrong_input_is_named(x: torch.Tensor, y: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        losses.create("arcface", 5, 4)(x, y)


def test_wrong_names_and_options() -> None:
    with pytest.raises(UsageError, match="Did you mean 'arcface'"):
        losses.create("arcfase", 5, 4)
    with pytest.raises(UsageError, match="no option 'margn'.*Did you mean 'margin'"):
        losses.create("arcface", 5, 4, margn=0.5)
    with pytest.raises(InputError, match="margin must lie in"):
        losses.create("arcface", 5, 4, margin=-0.1)
    with pytest.raises(InputError, match="but is 'x'"):
        losses.create("arcface", 5, 4, margin="x")
    with pytest.raises(InputError, match="scale must be a positive number"):
        losses.create("arcface", 5, 4, scale=0.0)
    with pytest.raises(InputError, match="num_classes"):
        losses.create("arcface", 0, 4)
    with pytest.raises(InputError, match="mining must be one of"):
        losses.create("triplet", 5, 4, mining="hardest")
