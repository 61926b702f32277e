"""Every loss of the softmax family is the same function of embeddings and weights, however the classes are passed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
import oracle

from steradian import losses
from steradian.errors import InputError, OptionWarning
from steradian.losses.head.weight_gradient import InPlace

FAMILY = [label for label, (name, _, _) in oracle.CASES.items() if "head" in losses.preset(name).options()]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(label: str, head: str, classes: int = 11, size: int = 5, **more):
    name, options, _ = oracle.CASES[label]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptionWarning)
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
        size = max(1e-3, float(expected.abs().max()))
        torch.testing.assert_close(
            found[name] / size, expected / size, rtol=0, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


def two_ways(label: str, x, y, classes: int, tile: int, kept: int, **more):
    dense = gradients(make(label, "dense", classes, x.shape[1], **more), x, y)
    loss = tiled(make(label, "tiled", classes, x.shape[1], **more), len(x), tile, kept)
    return gradients(loss, x, y), dense


@pytest.mark.parametrize("kept", [0, 2, 9])
@pytest.mark.parametrize("label", FAMILY)
def test_tiles_give_the_loss_and_the_gradients_of_the_whole_matrix(label: str, kept: int) -> None:
    x, y = batch(7, 5, 11)
    same(*two_ways(label, x, y, 11, 4, kept))


SMOOTHED = [
    label
    for label in FAMILY
    if "label_smoothing" in losses.preset(oracle.CASES[label][0]).options()
    and "label_smoothing" not in oracle.CASES[label][1]
]


@pytest.mark.parametrize("label", SMOOTHED)
def test_label_smoothing_streams_too(label: str) -> None:
    x, y = batch(7, 5, 11)
    same(*two_ways(label, x, y, 11, 4, 1, label_smoothing=0.2))


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    label=st.sampled_from(["arcface", "sv-arcface", "softmax", "curricularface", "focal-arcface", "subcenter-arcface"]),
    count=st.integers(1, 9),
    classes=st.integers(1, 23),
    tile=st.integers(1, 25),
    kept=st.integers(0, 25),
    size=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_any_shape(label: str, count: int, classes: int, tile: int, kept: int, size: int, seed: int) -> None:
    x, y = batch(count, size, classes, seed)
    y[: count // 2] = y[0]
    # In two dimensions an embedding may lie on its center, where the arc cosine enlarges rounding.
    same(*two_ways(label, x, y, classes, tile, kept), tolerance=1e-7)


@pytest.mark.parametrize("label", ["arcface", "cosface", "sphereface", "sv-arcface", "mv-arcface"])
def test_rows_past_pi_and_rows_that_every_wrong_class_beats(label: str) -> None:
    loss = make(label, "dense")
    x, y = batch(6, 5, 11)
    # Opposite to the own center: theta + m is past pi, and every wrong class is a support vector.
    x[:3] = 0.1 * x[:3] - 7.0 * loss.weight.detach()[y[:3]]
    x[3] = 0.1 * x[3] + 2.0 * loss.weight.detach()[y[3]]
    same(*two_ways(label, x, y, 11, 4, 1), tolerance=1e-9)


def test_single_precision_rows_whose_cosines_are_all_low_do_not_underflow() -> None:
    torch.set_default_dtype(torch.float32)
    for kept in (0, 3):
        loss = tiled(losses.create("cosface", 40, 8, head="tiled", scale=64.0), 2, 8, kept)
        with torch.no_grad():
            loss.weight.copy_(torch.ones(8) + 0.05 * torch.randn(40, 8))
        x = -torch.ones(2, 8)
        y = torch.tensor([0, 39])
        found = gradients(loss, x, y)
        exact = losses.create("cosface", 40, 8, head="dense", scale=64.0).double()
        exact.load_state_dict({"weight": loss.weight.detach().double()})
        same(found, {k: v.float() for k, v in gradients(exact, x.double(), y).items()}, 1e-4)
        assert float(found["value"]) > 20.0


# Elastic margins are drawn in the dtype of the cosines.
@pytest.mark.parametrize("label", [label for label in FAMILY if "elastic" not in label])
def test_single_precision_is_close_to_double(label: str) -> None:
    x, y = batch(7, 5, 11)
    exact = gradients(make(label, "dense"), x, y)
    torch.set_default_dtype(torch.float32)
    loss = tiled(make(label, "tiled").double().float(), 7, 4, 1)
    loss.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in make_double(label).items()})
    same(gradients(loss, x.float(), y), {name: value.float() for name, value in exact.items()}, 1e-4)


def make_double(label: str) -> dict[str, torch.Tensor]:
    torch.set_default_dtype(torch.float64)
    found = make(label, "tiled").state_dict()
    torch.set_default_dtype(torch.float32)
    return found


@pytest.mark.parametrize("label", FAMILY)
def test_evaluation_is_the_same_and_changes_nothing(label: str) -> None:
    x, y = batch(7, 5, 11)
    dense, loss = make(label, "dense").eval(), tiled(make(label, "tiled"), 7, 4, 0).eval()
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    wanted, right = dense.evaluate(x, y)
    found, correct = loss.evaluate(x, y)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(correct, right)
    torch.testing.assert_close(loss(x, y), dense(x, y))
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.state_dict().items())


def test_two_graphs_at_once_and_a_second_backward_pass() -> None:
    x, y = batch(7, 5, 11)
    wanted = gradients(make("arcface", "dense"), x, y)
    loss = tiled(make("arcface", "tiled"), 7, 4, 9)
    first, second = (x.clone().requires_grad_() for _ in range(2))
    one, two = loss(first, y), loss(second, y)
    (one + two).backward(retain_graph=True)
    torch.testing.assert_close(first.grad, wanted["x"])
    torch.testing.assert_close(second.grad, wanted["x"])
    one.backward()
    torch.testing.assert_close(first.grad, 2.0 * wanted["x"])
    torch.testing.assert_close(loss.weight.grad, 3.0 * wanted["weight"])


def test_gradient_in_place_is_reused_and_added_to() -> None:
    x, y = batch(7, 5, 11)
    wanted = gradients(make("arcface", "dense"), x, y)["weight"]
    loss = tiled(make("arcface", "tiled"), 7, 4, 9)
    loss.engine.weight_gradient = InPlace(loss.weight)
    loss(x, y).backward()
    torch.testing.assert_close(loss.weight.grad, wanted)
    where = loss.weight.grad.data_ptr()
    loss(x, y).backward()
    torch.testing.assert_close(loss.weight.grad, 2.0 * wanted)
    loss.weight.grad = None
    loss(x, y).backward()
    torch.testing.assert_close(loss.weight.grad, wanted)
    assert loss.weight.grad.data_ptr() == where


def test_fixed_centers_and_frozen_embeddings() -> None:
    x, y = batch(7, 5, 11)
    centers = torch.randn(11, 5)
    found = []
    for head in ("dense", "tiled"):
        loss = losses.MarginSoftmaxLoss(11, 5, margin=losses.AdditiveAngle(0.3), centers=centers, head=head)
        own = x.clone().requires_grad_()
        loss(own, y).backward()
        found.append(own.grad)
    torch.testing.assert_close(*found)
    trained = [make("arcface", head) for head in ("dense", "tiled")]
    for loss in trained:
        loss(x, y).backward()
    torch.testing.assert_close(trained[0].weight.grad, trained[1].weight.grad)


def test_a_loss_in_tiles_is_copied_and_stored_like_any_module() -> None:
    import copy
    import pickle

    x, y = batch(7, 5, 11)
    loss = tiled(make("hyperspherical", "tiled"), 7, 4, 2)
    del loss.engine.plan
    value = loss(x, y)
    value.backward()
    assert torch.equal(copy.deepcopy(loss)(x, y), value)
    assert torch.equal(pickle.loads(pickle.dumps(loss))(x, y), value)  # noqa: S301  its own


@pytest.mark.parametrize("label", ["arcface", "curricularface", "sv-arcface", "normface", "softmax"])
def test_compiled_tiles_are_the_same_and_see_what_changes(label: str) -> None:
    torch.set_default_dtype(torch.float32)
    x, y = (part.float() if part.is_floating_point() else part for part in batch(8, 5, 12))
    ways = []
    for compiled in (True, False):
        loss = make(label, "tiled", 12)
        plan = replace(loss.plan(8), tile=4, kept=1, compiled=compiled)
        loss.engine.plan = lambda *_, plan=plan: plan
        found = []
        for step in range(3):
            loss.margin_strength = 0.5 * step
            found.append(gradients(loss, x, y))
        ways.append(found)
    for fast, plain in zip(*ways, strict=True):
        same(fast, plain, 1e-5)


def test_without_a_compiler_the_head_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object):
        def run(*_: object):
            raise RuntimeError("no C++ compiler\nfor you")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    x, y = batch(8, 5, 12)
    loss = make("arcface", "tiled", 12)
    plan = replace(loss.plan(8), tile=4, compiled=True)
    loss.engine.plan = lambda *_: plan
    with pytest.warns(RuntimeWarning, match="uncompiled, which is slower: RuntimeError: no C"):
        found = gradients(loss, x, y)
    same(found, gradients(make("arcface", "dense", 12), x, y))


def test_evaluation_keeps_full_precision_under_autocast() -> None:
    torch.set_default_dtype(torch.float32)
    loss = losses.create("arcface", 40, 16, head="tiled").eval()
    x, y = torch.randn(8, 16), torch.arange(8)
    wanted, _ = loss.evaluate(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = loss.evaluate(x, y)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("head", ["dense", "tiled"])
def test_evaluation_checks_its_labels(head: str) -> None:
    with pytest.raises(InputError, match="label -1 in row 0"):
        losses.create("arcface", 9, 4, head=head).evaluate(torch.randn(2, 4), torch.tensor([-1, 3]))


@dataclass
class Half:
    """An emphasis of somebody's own, which cannot be hashed."""

    by: float = 0.5

    def __call__(self, cosine: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.where(cosine > target, self.by * cosine, cosine)


def test_dials_of_ones_own_need_not_be_hashable() -> None:
    x, y = batch(6, 5, 11)
    found = []
    for head in ("dense", "tiled"):
        torch.manual_seed(0)
        found.append(gradients(losses.MarginSoftmaxLoss(11, 5, emphasis=Half(), scale=8.0, head=head), x, y))
    same(*found)


def test_products_in_bfloat16_keep_targets_and_sums_in_single_precision() -> None:
    torch.set_default_dtype(torch.float32)
    x, y = torch.randn(8, 16), torch.arange(8)
    found = []
    for dtype in (None, torch.bfloat16):
        torch.manual_seed(0)
        loss = losses.create("arcface", 40, 16, head="tiled", scale=16.0)
        loss.engine.product_dtype = dtype
        found.append(gradients(loss, x, y))
    same(found[1], found[0], 3e-2)
    assert not torch.equal(found[0]["x"], found[1]["x"])


@pytest.mark.parametrize("wrong", [0, -3, "a", 2.5])
def test_a_plan_is_for_a_whole_number_of_rows(wrong: object) -> None:
    with pytest.raises(InputError, match="batch_size must be a whole number"):
        losses.create("arcface", 9, 4).plan(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", ["hyperspherical", "hyperspherical steep", "hyperspherical v1", "hyperspherical v3"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_score_through_polynomials_is_the_score_to_single_precision(label: str, compiled: bool) -> None:
    torch.set_default_dtype(torch.float32)
    name, _, variant = label.partition(" ")
    torch.manual_seed(0)
    options = {"variant": variant} if variant.startswith("v") else {}
    whole = losses.create(name, 60, 6, head="dense", **options)
    loss = losses.create(name, 60, 6, head="tiled", **options)
    loss.load_state_dict(whole.state_dict())
    if variant == "v1":
        with torch.no_grad():
            for each in (whole, loss):
                each.score.power.fill_(2.5)
    if variant == "steep":
        with torch.no_grad():
            for each in (whole, loss):
                each.score.raw_first.mul_(2.5)
    plan = replace(loss.plan(8), tile=20, kept=1, compiled=compiled)
    loss.engine.plan = lambda *_: plan
    x, y = torch.randn(8, 6), torch.arange(8)
    same(gradients(loss, x, y), gradients(whole, x, y), 2e-5)


def test_a_score_with_a_kink_is_not_taken_for_smooth() -> None:
    class Kinked(torch.nn.Module):
        def forward(self, cosine: torch.Tensor) -> torch.Tensor:
            return 8.0 * torch.relu(cosine - 0.3) + cosine

    from steradian.losses.head.smooth_curve import SmoothCurve

    like = torch.zeros(1, dtype=torch.float32)
    assert SmoothCurve(Kinked()).inputs(like) is None
    score = losses.StrictScore().float()
    (easy,) = SmoothCurve(score).inputs(like)
    with torch.no_grad():
        score.raw_first.mul_(2.5)
    (steep,) = SmoothCurve(score).inputs(like)
    assert (easy.shape, steep.shape) == ((2, 12), (2, 24))


@pytest.mark.parametrize("count", [3, 5, 9])
@pytest.mark.parametrize("in_place", [False, True])
def test_products_that_lie_where_the_gradient_will_be_are_read_before_it_is_written(count: int, in_place: bool) -> None:
    x, y = batch(count, 5, 11)
    wanted = gradients(make("arcface", "dense"), x, y)["weight"]
    for tile, kept in [(4, 9), (3, 2), (1, 11), (11, 1)]:
        loss = tiled(make("arcface", "tiled"), count, tile, kept)
        if in_place:
            loss.engine.weight_gradient = InPlace(loss.weight)
        loss(x, y).backward()
        torch.testing.assert_close(loss.weight.grad, wanted)


def test_two_graphs_and_a_graph_used_twice_do_not_share_products() -> None:
    x, y = batch(4, 5, 11)
    wanted = gradients(make("arcface", "dense"), x, y)["weight"]
    loss = tiled(make("arcface", "tiled"), 4, 4, 9)
    for order in ((0, 1), (1, 0)):
        loss.engine.weight_gradient = InPlace(loss.weight)
        loss.weight.grad = None
        values = [loss(x, y), loss(x, y)]
        for which in order:
            values[which].backward()
        torch.testing.assert_close(loss.weight.grad, 2.0 * wanted)
    loss.weight.grad = None
    value = loss(x, y)
    value.backward(retain_graph=True)
    value.backward()
    torch.testing.assert_close(loss.weight.grad, 2.0 * wanted)


def test_a_backward_pass_that_fails_leaves_no_half_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    from steradian.losses.head.kernels import Kernels

    x, y = batch(4, 5, 11)
    wanted = gradients(make("arcface", "dense"), x, y)["weight"]
    loss = tiled(make("arcface", "tiled"), 4, 4, 9)
    loss.engine.weight_gradient = InPlace(loss.weight)
    real, calls = Kernels.differentiate, []

    def fails(self: Kernels, *given: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no more")
        return real(self, *given)

    monkeypatch.setattr(Kernels, "differentiate", fails)
    with pytest.raises(RuntimeError, match="no more"):
        loss(x, y).backward()
    assert loss.weight.grad is None
    loss(x, y).backward()
    torch.testing.assert_close(loss.weight.grad, wanted)
