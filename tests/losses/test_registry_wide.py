"""What every loss owes, over the whole registry (LOSSES, "Tests that every loss owes")."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian import losses
from steradian.errors import InputError, OptionWarning, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::steradian.errors.OptionWarning")

ALL = losses.names()
WITH_CENTERS = [name for name in ALL if hasattr(losses.create(name, 5, 4), "logits")]
PAIRS = [name for name in ALL if name not in WITH_CENTERS]
FAMILY = [name for name in ALL if isinstance(losses.create(name, 5, 4), losses.MarginSoftmaxLoss)]
SEE_LENGTHS = {
    *("softmax", "center", "l-softmax", "sphereface", "focal-sphereface", "hm-sphereface", "sv-sphereface"),
    *("magface", "adaface", "sigmoid", "n-pair"),
}
ONLY_DIRECTIONS = [name for name in ALL if name not in SEE_LENGTHS]
BINARY = {"sigmoid", "sphereface2", "uniface"}
STATEFUL = {
    *("curricularface", "adacos", "adaface", "center"),
    *("l-softmax", "sphereface", "focal-sphereface", "hm-sphereface", "sv-sphereface"),
}


def batch(count: int = 12, size: int = 4, classes: int = 5, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, size, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(0, classes, (count,), generator=generator)


def at_scale(name: str, scale: float) -> dict[str, float]:
    """Options that set the size of the logits, where a name has such a number."""
    defaults = losses.preset(name).options()
    numeric = isinstance(defaults.get("scale"), float) or name in ("normface", "adacos")
    found = {"scale": scale} if numeric else {}
    found |= {key: scale for key in ("gamma", "slope") if key in defaults and not name.startswith("focal")}
    return found | ({"temperature": 1.0 / scale} if "temperature" in defaults else {})


@pytest.mark.parametrize("name", ALL)
def test_one_signature_for_every_name(name: str) -> None:
    x, y = batch()
    loss = losses.create(name, num_classes=5, embedding_size=4)
    value = loss(x, y)
    assert value.shape == () and value.dtype == torch.float32 and torch.isfinite(value)


@pytest.mark.parametrize("name", ALL)
def test_every_row_says_what_it_is(name: str) -> None:
    row = losses.preset(name)
    assert row.formula and row.paper and 1950 < row.year < 2030 and row.sensible and row.advice
    assert losses.create(name, 5, 4, **{key: row.options()[key] for key in row.used({})})


@pytest.mark.parametrize("name", WITH_CENTERS)
def test_weight_and_logits(name: str) -> None:
    x, _ = batch()
    loss = losses.create(name, num_classes=5, embedding_size=4)
    assert loss.weight.shape == (5 * loss.subcenters, 4)
    assert isinstance(loss.weight, torch.nn.Parameter) or name == "prototypes"
    assert loss.logits(x).shape == (12, 5)


@pytest.mark.parametrize("name", ONLY_DIRECTIONS)
def test_gradient_is_orthogonal_and_scale_does_not_matter(name: str) -> None:
    x, y = batch(dtype=torch.float64)
    loss = losses.create(name, 5, 4).double()
    again = copy.deepcopy(loss)
    x.requires_grad_()
    torch.manual_seed(1)
    value = loss(x, y)
    value.backward()
    assert (x.grad * x).sum(dim=1).abs().max() < 1e-10 * max(1.0, float(x.grad.abs().max()))
    if loss_has_free_weight(loss):
        along = (loss.weight.grad * loss.weight).sum(dim=1).abs().max()
        assert along < 1e-9 * max(1.0, float(loss.weight.grad.abs().max()))
    torch.manual_seed(1)
    torch.testing.assert_close(again(7.3 * x, y), value, rtol=1e-10, atol=1e-12)


def loss_has_free_weight(loss: torch.nn.Module) -> bool:
    return isinstance(getattr(loss, "weight", None), torch.nn.Parameter)


@pytest.mark.parametrize("name", sorted(SEE_LENGTHS))
def test_those_that_see_lengths_do(name: str) -> None:
    x, y = batch(dtype=torch.float64)
    # MagFace's norms count within [10, 110].
    x = 12.0 * x / x.norm(dim=1, keepdim=True)
    loss = losses.create(name, 5, 4).double()
    assert not torch.isclose(copy.deepcopy(loss)(1.5 * x, y), loss(x, y), rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [64.0, 80.0, 256.0])
def test_finite_at_every_edge(name: str, dtype: torch.dtype, scale: float) -> None:
    for size in (2, 4):
        loss = losses.create(name, 5, size, **at_scale(name, scale))
        own = loss.weight.detach()[:5].clone() if hasattr(loss, "weight") else torch.randn(5, size)
        edges = torch.cat([own, -own, torch.zeros(1, size), own[:1], own[:1], 1e-8 * own[:1], 1e4 * own[:1]])
        labels = torch.cat([torch.arange(5), torch.arange(5), torch.tensor([2, 0, 0, 0, 0])])
        for rows in (slice(None), slice(0, 1), slice(5, 6), slice(10, 11)):
            x = edges[rows].to(dtype).clone().requires_grad_()
            loss.zero_grad()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                value = loss(x, labels[rows])
            value.backward()
            assert torch.isfinite(value) and value.dtype == torch.float32, (name, rows)
            assert torch.isfinite(x.grad).all(), (name, rows)
            assert all(p.grad is None or torch.isfinite(p.grad).all() for p in loss.parameters()), (name, rows)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_losses_are_finite_at_every_edge(name: str) -> None:
    for x in (torch.zeros(4, 3), torch.ones(4, 3), torch.eye(4, 3), torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])):
        for y in (torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), torch.arange(len(x)) // 2):
            points = x.clone().requires_grad_()
            value = losses.create(name, 5, 3)(points, y)
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(points.grad).all()


@pytest.mark.parametrize("name", WITH_CENTERS)
def test_eval_is_margin_free_and_moves_nothing(name: str) -> None:
    x, y = batch()
    loss = losses.create(name, 5, 4).eval()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    if name not in BINARY:
        expected = torch.nn.functional.cross_entropy(loss.logits(x), y)
    elif name == "uniface":
        z, own = loss.logits(x), torch.nn.functional.one_hot(y, 5)
        expected = torch.nn.functional.softplus(z * (1 - 2 * own)).sum(dim=1).mean()
    elif name == "sphereface2":
        z, own = loss.logits(x), torch.nn.functional.one_hot(y, 5)
        weights = loss.alpha * own + (1 - loss.alpha) * (1 - own)
        expected = 50 / 40 * (weights * torch.nn.functional.softplus(z * (1 - 2 * own))).sum(dim=1).mean()
    else:
        own = torch.nn.functional.one_hot(y, 5).float()
        expected = torch.nn.functional.binary_cross_entropy_with_logits(loss.logits(x), own)
    torch.testing.assert_close(loss(x, y), expected)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())


@pytest.mark.parametrize("name", ALL)
def test_state_survives_saving_and_moves_only_where_it_should(name: str) -> None:
    x, y = batch()
    loss = losses.create(name, 5, 4)
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    for _ in range(3):
        loss(x, y)
    moved = {key for key, value in loss.state_dict().items() if not torch.equal(before[key], value)}
    assert bool(moved) == (name in STATEFUL), moved
    assert not moved & {key for key, _ in loss.named_parameters()}
    again = losses.create(name, 5, 4)
    again.load_state_dict(loss.state_dict())
    torch.manual_seed(0)
    value = loss(x, y)
    torch.manual_seed(0)
    torch.testing.assert_close(again(x, y), value, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in ALL if "scale" in at_scale(name, 1.0) and name != "prototypes"])
def test_no_loss_saturates(name: str) -> None:
    """Opposite to the own center and on top of a wrong one, the loss grows with the scale, past any constant."""
    values = []
    for scale in (200.0, 2000.0):
        # SphereFace2's weight lambda / s takes the scale out again.
        weight = {"loss_weight": scale} if name == "sphereface2" else {}
        loss = losses.create(name, 3, 2, scale=scale, **weight)
        with torch.no_grad():
            centers = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
            loss.weight.copy_(centers.repeat_interleave(loss.subcenters, 0))
        values.append(float(loss(torch.tensor([[-1.0, 0.0]]), torch.tensor([0])).detach()))
    assert values[0] > 100.0 and values[1] > 8.0 * values[0], values


@settings(max_examples=100, deadline=None)
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptionWarning)
        value = losses.create(name, classes, size)(x, y)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ALL)
def test_wrong_labels_are_named_by_every_loss(name: str) -> None:
    loss = losses.create(name, 5, 4)
    with pytest.raises(InputError, match="int64"):
        loss(torch.randn(2, 4), torch.tensor([0, 1], dtype=torch.int32))
    with pytest.raises(InputError, match="embedding in row 1 is not finite"):
        loss(torch.tensor([[0.0, 0, 0, 1], [float("nan"), 0, 0, 1]]), torch.tensor([0, 1]))
    if name in WITH_CENTERS:
        with pytest.raises(InputError, match="label 5 in row 1 is outside 0..4"):
            loss(torch.randn(2, 4), torch.tensor([0, 5]))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(2, 4), torch.tensor([0, 5]), "label 5 in row 1 is outside 0..4"),
        (torch.zeros(2, 4), torch.tensor([-1, 0]), "label -1 in row 0"),
        (torch.zeros(2, 4), torch.tensor([0, 1], dtype=torch.int32), "int64"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), "embedding_size=4"),
        (torch.zeros(2, 4), torch.tensor([0]), "2 embeddings and 1 labels"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), "empty"),
        (torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 1]), "float tensor"),
    ],
)
def test_wrong_input_is_named(x: torch.Tensor, y: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        losses.create("arcface", 5, 4)(x, y)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("arcface", {"margin": -0.1}, "margin must lie in"),
        ("arcface", {"margin": "x"}, "but is 'x'"),
        ("arcface", {"past_pi": "extand"}, "past_pi must be one of.*Did you mean 'extend'"),
        ("arcface", {"scale": 0.0}, "scale must be a positive number"),
        ("arcface", {"scale": "nrm"}, "scale must be a positive number up to 1e6 or one of.*Did you mean 'norm'"),
        ("arcface", {"gradient": "straight"}, "gradient must be one of"),
        ("arcface", {"label_smoothing": 1.0}, "label_smoothing must lie in"),
        ("arcface", {"subcenters": 0}, "subcenters must be a whole number"),
        ("sphereface", {"margin": 0.5}, "margin must lie in"),
        ("combined", {"m2": 4.0}, "m2 must lie in"),
        ("sv-arcface", {"t": 0.9}, "t must lie in"),
        ("mv-arcface", {"variant": "both"}, "variant must be one of adaptive, fixed"),
        ("focal", {"gamma": -1.0}, "gamma must lie in"),
        ("hm-softmax", {"keep": 0.0}, "keep must lie in"),
        ("magface", {"u_a": 5.0}, "u_a must be above l_a"),
        ("adaface", {"h": -1.0}, "h must lie in"),
        ("elastic-arcface", {"std": -1.0}, "std must lie in"),
        ("dynamic-arcface", {"class_counts": [1, 2]}, "class_counts must hold the number of images.*5 classes"),
        ("dynamic-arcface", {"class_counts": [1, 2, 0, 1, 1]}, "at least 1"),
        ("triplet", {"mining": "hardest"}, "mining must be one of"),
        ("triplet", {"margin": "soft", "mining": "semi-hard-drop"}, "Give a number"),
        ("supcon", {"temperature": 0.0}, "temperature must lie in"),
        ("hyperspherical", {"variant": "v4"}, "variant must be one of strict, v1, v2, v3"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        losses.create(name, 5, 4, **options)


def test_wrong_names_and_options() -> None:
    with pytest.raises(UsageError, match="Did you mean 'arcface'"):
        losses.create("arcfase", 5, 4)
    with pytest.raises(UsageError, match="no option 'margn'.*Did you mean 'margin'"):
        losses.create("arcface", 5, 4, margn=0.5)
    with pytest.raises(UsageError, match="variant='v1' has no option 'slope'"):
        losses.create("hyperspherical", 5, 4, variant="v1", slope=3.0)
    with pytest.raises(InputError, match="num_classes"):
        losses.create("arcface", 0, 4)
    assert losses.preset("am-softmax").name == "cosface"


@pytest.mark.filterwarnings("error::steradian.errors.OptionWarning")
def test_unwise_options_are_warned_about() -> None:
    with pytest.warns(OptionWarning, match=r"margin=0\.35.* is more than 10 classes in 2 dimensions.*0\.191"):
        losses.create("cosface", 10, 2)
    with pytest.warns(OptionWarning, match=r"margin=0\.7.*0\.628 rad"):
        losses.create("arcface", 10, 2, margin=0.7)
    with pytest.warns(OptionWarning, match=r"scale=1 cannot bring.*1000 classes.*6\.9.*0\.99 takes 11\.5"):
        losses.create("normface", 1000, 64, scale=1.0)
    losses.create("cosface", 10, 2, margin=0.19)
    losses.create("arcface", 10, 3)


def test_multi_hot_labels() -> None:
    x, _ = batch()
    loss = losses.create("sigmoid", 5, 4)
    labels = torch.randint(0, 2, (12, 5), generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(loss.logits(x), labels.float())
    torch.testing.assert_close(loss(x, labels), expected)
    assert loss.predict(x).shape == (12, 5) and loss.predict(x).dtype == torch.bool
    loss.thresholds.fill_(2.0)
    assert not loss.predict(x).any()
    with pytest.raises(InputError, match=r"multi-hot labels must be \[12, 5\]"):
        loss(x, labels[:, :4])
    with pytest.raises(InputError, match="zeros and ones, but row 3"):
        loss(x, labels.float().index_fill(0, torch.tensor([3]), 0.5))
