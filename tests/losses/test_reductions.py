"""One loss is another at the right numbers: the reductions of LOSSES."""

from __future__ import annotations

import pytest
import torch

from steradian import losses

pytestmark = pytest.mark.filterwarnings("ignore::steradian.errors.OptionWarning")
OFF = {"lambda_base": 0.0, "lambda_min": 0.0}


def setting():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 5, (16,), generator=generator)
    return x, y, torch.randn(5, 4, generator=generator, dtype=torch.float64)


def evaluated(name: str, options: dict[str, object]):
    """(value, dX) with the same centers for every loss."""
    x, y, weight = setting()
    loss = losses.create(name, 5, 4, **options).double()
    with torch.no_grad():
        loss.weight.copy_(weight)
        if getattr(loss, "bias", None) is not None:
            loss.bias.zero_()
    x.requires_grad_()
    value = loss(x, y)
    value.backward()
    return value.detach(), x.grad


S = {"scale": 16.0}
ARC = {"scale": 16.0, "margin": 0.3}
PAIRS = [
    ("arcface", {**S, "margin": 0.0}, "cocoloss", S),
    ("cosface", {**S, "margin": 0.0}, "cocoloss", S),
    ("normface", S, "cocoloss", S),
    ("combined", {**S, "m1": 1.0, "m2": 0.3, "m3": 0.0}, "arcface", ARC),
    ("combined", {**S, "m1": 1.0, "m2": 0.0, "m3": 0.3}, "cosface", ARC),
    ("combined", {**S, "m1": 2.0, "m2": 0.0, "m3": 0.0}, "sphereface", {**S, "margin": 2.0, **OFF}),
    ("sphere-arc", {**S, "m_s": 1.0}, "cocoloss", S),
    ("sphere-arc", {**S, "m_a": 0.0}, "cocoloss", S),
    ("sphere-arc", {**S, "m_s": 2.0, "m_a": 100.0}, "sphereface", {**S, "margin": 2.0, **OFF}),
    ("sphere-arc", {**S, "m_s": 1e6, "m_a": 0.3}, "arcface", ARC),
    ("sphereface", {**S, "margin": 1.0, **OFF}, "cocoloss", S),
    ("sphereface", {**S, "lambda_base": 1e12, "lambda_min": 1e12}, "cocoloss", S),
    ("sphereface-r", {**S, "variant": "v0", "margin": 2.0}, "sphereface", {**S, "margin": 2.0, **OFF}),
    ("sphereface-r", {**S, "variant": "v2", "margin": 1.0}, "cocoloss", S),
    ("l-softmax", {"margin": 1.0, **OFF}, "softmax", {"bias": False}),
    ("subcenter-arcface", {**ARC, "subcenters": 1}, "arcface", ARC),
    ("dynamic-arcface", {**S, "m_max": 0.3, "subcenters": 1, "class_counts": [7] * 5}, "arcface", ARC),
    ("elastic-arcface", {**ARC, "std": 0.0}, "arcface", ARC),
    ("elastic-arcface", {**ARC, "std": 0.0, "variant": "plus"}, "arcface", ARC),
    ("elastic-cosface", {**ARC, "std": 0.0}, "cosface", ARC),
    ("adaface", {**ARC, "h": 0.0}, "cosface", ARC),
    ("magface", {**S, "l_m": 0.3, "u_m": 0.3, "lambda_g": 0.0}, "arcface", ARC),
    ("focal", {**S, "gamma": 0.0}, "cocoloss", S),
    ("hm-softmax", {**S, "keep": 1.0}, "cocoloss", S),
    ("focal-arcface", {**ARC, "gamma": 0.0}, "arcface", ARC),
    ("hm-cosface", {**ARC, "keep": 1.0}, "cosface", ARC),
    ("focal-sphereface", {"gamma": 0.0}, "sphereface", {}),
    ("sv-softmax", {**S, "t": 1.0}, "cocoloss", S),
    ("sv-softmax", {**S, "t": 1.0, "variant": "fixed"}, "cocoloss", S),
    ("sv-cosface", {**ARC, "t": 1.0}, "cosface", ARC),
    ("sv-arcface", {**ARC, "t": 1.0}, "arcface", ARC),
    ("sv-sphereface", {"t": 1.0}, "sphereface", {}),
    ("sv-cosface", {**S, "margin": 0.0, "t": 1.2}, "sv-softmax", {**S, "t": 1.2}),
    ("sv-arcface", {**S, "margin": 0.0, "t": 1.2}, "sv-softmax", {**S, "t": 1.2}),
    ("mv-cosface", {**ARC, "t": 0.0}, "cosface", ARC),
    ("mv-arcface", {**ARC, "t": 0.0, "variant": "fixed"}, "arcface", ARC),
    ("mv-arcface", {**ARC, "t": 0.2}, "sv-arcface", {**ARC, "t": 1.2}),
    ("mv-arcface", {**ARC, "t": 0.2, "variant": "fixed"}, "sv-arcface", {**ARC, "t": 1.2, "variant": "fixed"}),
    ("arcface", {**ARC, "label_smoothing": 0.0}, "arcface", ARC),
    ("center", {"center_weight": 0.0}, "softmax", {}),
    ("proxy-nca", {"variant": "softmax", "scale": 8.0}, "cocoloss", S),
]


@pytest.mark.parametrize(("name", "options", "other", "others"), PAIRS, ids=[f"{p[0]} is {p[2]}" for p in PAIRS])
def test_reduces_to(name: str, options: dict[str, object], other: str, others: dict[str, object]) -> None:
    for found, expected in zip(evaluated(name, options), evaluated(other, others), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 if name != "dynamic-arcface" else 1e-5)


@pytest.mark.parametrize(
    ("name", "options", "other", "others"),
    [
        ("sv-arcface", {**ARC, "t": 1.2}, "arcface", ARC),
        ("focal", S, "cocoloss", S),
        ("adaface", {**ARC, "h": 0.333}, "cosface", ARC),
        ("hm-softmax", {**S, "keep": 0.5}, "cocoloss", S),
        ("curricularface", ARC, "arcface", ARC),
    ],
)
def test_and_differs_elsewhere(name: str, options, other: str, others) -> None:
    assert not torch.isclose(evaluated(name, options)[0], evaluated(other, others)[0], rtol=1e-6)


def test_curricular_with_nothing_hard_is_arcface() -> None:
    """On its own center, no wrong class beats the target, and t does not matter."""
    weight = torch.eye(4, dtype=torch.float64)
    values = []
    for name in ("curricularface", "arcface"):
        loss = losses.create(name, 4, 4, margin=0.3, scale=16.0).double()
        with torch.no_grad():
            loss.weight.copy_(weight)
        values.append(loss(weight + 0.01, torch.arange(4)).detach())
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)


def test_unpg_without_pairs_is_its_base() -> None:
    x, _, weight = setting()
    y = torch.zeros(16, dtype=torch.int64)
    for base in ("cosface", "arcface"):
        values = []
        for loss in (
            losses.create("unpg", 5, 4, base=base, margin=0.3, scale=16.0),
            losses.create(base, 5, 4, margin=0.3, scale=16.0),
        ):
            loss.double()
            with torch.no_grad():
                loss.weight.copy_(weight)
            values.append(loss(x, y).detach())
        torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)


def test_support_vectors_never_lower_the_loss() -> None:
    values = [float(evaluated("sv-softmax", {**S, "t": t})[0]) for t in (1.0, 1.05, 1.2, 1.4, 2.0)]
    assert values == sorted(values) and values[0] < values[-1]


def test_equality_is_no_support_vector_and_the_target_is_not_its_own() -> None:
    sv = losses.SupportVectors(2.0)
    cosine = torch.tensor([[0.3, 0.3, 0.31]])
    torch.testing.assert_close(sv(cosine, torch.tensor([[0.3]])), torch.tensor([[0.3, 0.3, 1.62]]))
    # With a margin the plain target cosine beats its own logit; alone in the sum, the loss is still 0.
    alone = losses.create("sv-cosface", 1, 4)
    assert float(alone(torch.randn(3, 4), torch.zeros(3, dtype=torch.int64)).detach()) == 0.0


def test_the_gradient_of_a_support_vector_is_t_times_as_large() -> None:
    """dL/dc_k = s p_k (t if I_k else 1), with the modified p (LOSSES 2.13)."""
    cosine = torch.tensor([[0.2, 0.5, -0.1]], dtype=torch.float64, requires_grad=True)
    emphasized = losses.SupportVectors(1.3)(cosine, cosine[:, :1]).scatter(1, torch.tensor([[0]]), cosine[:, :1])
    torch.nn.functional.cross_entropy(8.0 * emphasized, torch.tensor([0])).backward()
    p = torch.softmax(8.0 * emphasized.detach(), 1)[0]
    expected = 8.0 * torch.stack([p[0] - 1, 1.3 * p[1], p[2]])
    torch.testing.assert_close(cosine.grad[0], expected, rtol=1e-12, atol=1e-15)


def test_inter_class_filter_takes_out_near_wrong_classes_only() -> None:
    x, y, weight = setting()
    loss = losses.MarginSoftmaxLoss(5, 4, emphasis=losses.InterClassFilter(0.4), scale=16.0).double()
    with torch.no_grad():
        loss.weight.copy_(weight)
    cosine = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(weight).T
    own = torch.nn.functional.one_hot(y, 5).bool()
    filtered = torch.where(~own & (cosine > 0.4), 0.0, cosine)
    expected = torch.nn.functional.cross_entropy(16.0 * filtered, y)
    torch.testing.assert_close(loss(x, y).detach(), expected)


def test_every_dial_composes_with_every_other() -> None:
    x, y, _ = setting()
    x.requires_grad_()
    margins = (losses.AdditiveAngle(0.3), losses.MagFaceMargin(), losses.AdaFaceMargin(), losses.ElasticCosMargin())
    for margin in margins:
        for emphasis in (losses.SupportVectors(), losses.Curriculum(), losses.NarrowedAngles()):
            for weighting in (losses.Focal(), losses.HardMining(0.5)):
                for score in (None, losses.StrictScore()):
                    loss = losses.MarginSoftmaxLoss(
                        5,
                        4,
                        margin=margin,
                        emphasis=emphasis,
                        weighting=weighting,
                        score=score,
                        scale=8.0,
                        subcenters=2,
                    ).double()
                    value = loss(x, y)
                    value.backward()
                    assert torch.isfinite(value) and torch.isfinite(x.grad).all()
