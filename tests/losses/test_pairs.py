"""Losses of pairs against loops over every triplet and pair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steradian import losses


def triplet_by_loops(x: torch.Tensor, y: torch.Tensor, margin: float, mining: str) -> torch.Tensor:
    x = torch.nn.functional.normalize(x)
    n = len(x)
    d = [[(x[i] - x[j]).norm() if i != j else x.new_zeros(()) for j in range(n)] for i in range(n)]
    terms, count = [], 0
    for a in range(n):
        positives = [p for p in range(n) if p != a and y[p] == y[a]]
        negatives = [k for k in range(n) if y[k] != y[a]]
        if not positives or not negatives:
            continue
        if mining == "batch-hard":
            gap = max(d[a][p] for p in positives) - min(d[a][k] for k in negatives)
            terms.append(torch.clamp(gap + margin, min=0))
            count += 1
            continue
        for p in positives:
            beyond = [d[a][k] for k in negatives if d[a][k] > d[a][p]]
            if mining == "semi-hard":
                chosen = min(beyond) if beyond else max(d[a][k] for k in negatives)
                terms.append(torch.clamp(d[a][p] - chosen + margin, min=0))
                count += 1
            elif beyond and min(beyond) - d[a][p] <= margin:
                terms.append(d[a][p] - min(beyond) + margin)
                count += 1
    return torch.stack(terms).sum() / count if terms else x.sum() * 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 9),
    classes=st.integers(1, 4),
    mining=st.sampled_from(["batch-hard", "semi-hard", "semi-hard-drop"]),
)
def test_triplet_equals_loops(seed: int, count: int, classes: int, mining: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (count,), generator=generator)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    value = losses.create("triplet", 1, 1, margin=0.4, mining=mining)(ours, y)
    expected = triplet_by_loops(theirs, y, 0.4, mining)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("variant", ["hadsell", "linear"])
def test_contrastive_equals_loops(variant: str) -> None:
    x = torch.randn(8, 3, dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
    unit = torch.nn.functional.normalize(x)
    pulls, pushes = [], []
    for i in range(8):
        for j in range(8):
            if i != j:
                d = (unit[i] - unit[j]).norm()
                (pulls if y[i] == y[j] else pushes).append(d if y[i] == y[j] else torch.clamp(1.0 - d, min=0))
    pull, push = torch.stack(pulls), torch.stack(pushes)
    if variant == "hadsell":
        expected = 0.5 * torch.cat([pull**2, push**2]).mean()
    else:
        expected = pull[pull > 0].mean() + push[push > 0].mean()
    torch.testing.assert_close(losses.create("contrastive", 1, 1, variant=variant)(x, y), expected)


def test_the_two_semi_hard_rules_differ() -> None:
    x, y = torch.randn(24, 3), torch.arange(24) % 4
    a, b = (losses.create("triplet", 1, 1, mining=rule)(x, y) for rule in ("semi-hard", "semi-hard-drop"))
    assert not torch.isclose(a, b)


def test_raw_distances_on_request() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    y = torch.tensor([0, 0, 1])
    value = losses.create("triplet", 1, 1, margin=1.0, mining="batch-hard", normalize=False)(x, y)
    expected = ((5 - 1 + 1) + (5 - (9 + 9) ** 0.5 + 1)) / 2
    torch.testing.assert_close(value.item(), expected)


def test_large_batch_needs_no_cube() -> None:
    """1,024 rows are 10^9 triplets; B x B work fits in well under the 4 GB that one byte each would take."""
    x, y = torch.randn(1024, 16), torch.arange(1024) % 32
    for mining in ("batch-hard", "semi-hard", "semi-hard-drop"):
        assert torch.isfinite(losses.create("triplet", 1, 1, mining=mining)(x, y))


def test_a_negative_as_far_as_the_positive_is_not_beyond_it() -> None:
    """d_an > d_ap is strict: the tie at distance 2 is passed over for the negative at 5."""
    x = torch.tensor([[0.0], [2.0], [-2.0], [5.0]])
    y = torch.tensor([0, 0, 1, 2])
    assert losses.create("triplet", 1, 1, margin=1.0, mining="semi-hard", normalize=False)(x, y).item() == 0.0
