"""Some classes a step: the dense loss over the same classes, sparse gradients, rows that stay as they were."""

from __future__ import annotations

import pytest
import torch

from steradian import losses
from steradian.errors import InputError
from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.sampled import Sampling
from steradian.losses.head.weight_gradient import FusedUpdate


def chosen_rows(loss: losses.MarginSoftmaxLoss) -> torch.Tensor:
    assert loss.weight.grad is not None and loss.weight.grad.is_sparse
    return loss.weight.grad.coalesce().indices()[0]


@pytest.mark.parametrize("name", ["arcface", "sv-arcface", "softmax", "curricularface", "subcenter-arcface"])
def test_the_sample_is_the_dense_loss_over_its_classes(name: str) -> None:
    torch.manual_seed(3)
    x, y = torch.randn(6, 5).double(), torch.tensor([7, 7, 30, 2, 49, 11])
    loss = losses.create(name, 50, 5, head="sampled", sample_rate=0.3, label_smoothing=0.1).double()
    own = x.clone().requires_grad_()
    value = loss(own, y)
    value.backward()
    rows = chosen_rows(loss)
    classes = rows[:: loss.subcenters] // loss.subcenters
    assert set(y.tolist()) <= set(classes.tolist())
    assert len(classes) == 15

    few = losses.create(name, len(classes), 5, head="dense", label_smoothing=0.1).double()
    with torch.no_grad():
        few.weight.copy_(loss.weight[rows])
    also = x.clone().requires_grad_()
    expected = few(also, torch.searchsorted(classes, y))
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(own.grad, also.grad)
    torch.testing.assert_close(loss.weight.grad.coalesce().values(), few.weight.grad)


def test_draws_are_even_sorted_and_hold_the_batch() -> None:
    weight, x = torch.randn(40, 3), torch.randn(4, 3)
    labels = torch.tensor([3, 3, 9, -1])
    seen = torch.zeros(40)
    for _ in range(400):
        found = Sampling(0.25).choose(weight, labels, x)
        assert len(found) == 10 and torch.equal(found, found.unique())
        assert {3, 9} <= set(found.tolist())
        seen[found] += 1.0
    others = seen[[c for c in range(40) if c not in (3, 9)]] / 400
    assert float(others.min()) > 0.1 and float(others.max()) < 0.35


def test_more_classes_in_the_batch_than_the_rate_allows() -> None:
    found = Sampling(0.1).choose(torch.randn(20, 3), torch.arange(6), torch.randn(6, 3))
    assert found.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(Sampling(1.0).choose(torch.randn(20, 3), torch.arange(6), torch.randn(6, 3))) == 20


def test_hard_negatives_are_nearer_than_drawn_ones() -> None:
    weight, x = torch.randn(400, 8), torch.randn(2, 8)
    nearness = (torch.nn.functional.normalize(weight) @ torch.nn.functional.normalize(x).T).amax(dim=1)
    labels = torch.tensor([0, 1])
    hard = torch.stack([nearness[Sampling(0.1, 1.0).choose(weight, labels, x)].mean() for _ in range(20)])
    even = torch.stack([nearness[Sampling(0.1, 0.0).choose(weight, labels, x)].mean() for _ in range(20)])
    assert float(hard.mean()) > float(even.mean()) + 0.2


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_all_rows_at_once_are_the_optimizers_of_torch(kind: str) -> None:
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    more = {"momentum": 0.9} if kind == "sgd" else {}
    ours, theirs = (torch.nn.Parameter(torch.ones(6, 3)) for _ in range(2))
    mine = RowOptimizer(ours, kind, lr=0.1, weight_decay=0.01)
    reference = make([theirs], lr=0.1, weight_decay=0.01, **more)
    for step in range(4):
        gradient = torch.randn(6, 3)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        if step == 2:
            mine.param_groups[0]["lr"] = reference.param_groups[0]["lr"] = 0.02
        mine.step()
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_rows_that_are_not_sampled_keep_value_and_moments(kind: str) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 3))
    optimizer = RowOptimizer(weight, kind, lr=0.1, weight_decay=0.5)
    weight.grad = torch.ones(6, 3)
    optimizer.step()
    before = weight.detach().clone()
    moments = {key: value.clone() for key, value in optimizer.state[weight].items() if value.ndim}
    rows = torch.tensor([1, 4])
    weight.grad = torch.sparse_coo_tensor(rows[None], torch.ones(2, 3), (6, 3), check_invariants=True)
    optimizer.step()
    still = torch.tensor([0, 2, 3, 5])
    assert torch.equal(weight.detach()[still], before[still])
    assert (weight.detach()[rows] != before[rows]).all()
    for key, value in moments.items():
        assert torch.equal(optimizer.state[weight][key][still], value[still])
        assert not torch.equal(optimizer.state[weight][key][rows], value[rows])


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_gradient_need_not_exist(kind: str) -> None:
    weights = []
    for applied in (False, True):
        torch.manual_seed(0)
        loss = losses.create("arcface", 30, 4, head="tiled")
        optimizer = RowOptimizer(loss.weight, kind, lr=0.1)
        if applied:
            loss.engine.weight_gradient = FusedUpdate(optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            loss(torch.randn(8, 4), torch.randint(0, 30, (8,))).backward()
            if applied:
                assert loss.weight.grad is None
            else:
                optimizer.step()
        weights.append(loss.weight.detach())
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "tiles"}, "head must be one of auto, dense, tiled, sampled, sharded.*tiled"),
        ({"sample_rate": 0.1}, "sample_rate and hard_share are for head='sampled'"),
        ({"head": "dense", "hard_share": 0.1}, "are for head='sampled'"),
        ({"head": "sampled", "sample_rate": 0.0}, "sample_rate must lie in"),
        ({"head": "sampled", "hard_share": 1.5}, "hard_share must lie in"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        losses.create("arcface", 10, 4, **options)


@pytest.mark.parametrize("head", ["dense", "tiled", "sampled"])
@pytest.mark.parametrize("label", [-1, 10])
def test_labels_outside_are_named(head: str, label: int) -> None:
    loss = losses.create("arcface", 10, 4, head=head)
    with pytest.raises(InputError, match=f"label {label} in row 1 is outside 0..9"):
        loss(torch.randn(3, 4), torch.tensor([0, label, 2]))
