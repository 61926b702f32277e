"""Losses with a memory, over several steps: each against its rule written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from steradian import losses
from steradian.losses import pair_table

STEPS = 4


def stream():
    generator = torch.Generator().manual_seed(7)
    for _ in range(STEPS):
        yield (
            25.0 * torch.rand(1, generator=generator) * torch.randn(9, 4, generator=generator),
            torch.randint(0, 5, (9,), generator=generator),
        )


def own_cosines(loss: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(x, loss.weight.detach()[y])


def test_curricular_t_is_a_running_mean() -> None:
    loss, t = losses.create("curricularface", 5, 4), 0.0
    for x, y in stream():
        loss(x, y)
        t = 0.01 * float(own_cosines(loss, x, y).mean()) + 0.99 * t
        assert float(loss.emphasis.t) == pytest.approx(t, rel=1e-5)


def test_adaface_statistics_are_running_means() -> None:
    loss, mean, std = losses.create("adaface", 5, 4, t_alpha=0.3), 20.0, 100.0
    for x, y in stream():
        loss(x, y)
        norms = x.norm(dim=1).clamp(0.001, 100)
        mean, std = 0.3 * float(norms.mean()) + 0.7 * mean, 0.3 * float(norms.std()) + 0.7 * std
        assert float(loss.margin.norm_mean) == pytest.approx(mean, rel=1e-5)
        assert float(loss.margin.norm_std) == pytest.approx(std, rel=1e-5)
    loss(x[:1], y[:1])
    assert float(loss.margin.norm_std) == pytest.approx(std, rel=1e-5), "one row has no spread"


def test_adacos_scale_follows_the_batches() -> None:
    loss, s = losses.create("adacos", 5, 4), math.sqrt(2) * math.log(4)
    for x, y in stream():
        loss(x, y)
        cosine = loss.cosines(x).detach()
        wrong = ~torch.nn.functional.one_hot(y, 5).bool()
        mean = float((torch.exp(s * cosine) * wrong).sum(dim=1).mean())
        median = sorted(torch.acos(own_cosines(loss, x, y)).tolist())[4]
        s = max(1.0, math.log(mean) / math.cos(min(math.pi / 4, median)))
        assert loss.scale == pytest.approx(s, rel=1e-4)


def test_centers_follow_their_classes() -> None:
    loss, centers = losses.create("center", 5, 4, alpha=0.5), torch.zeros(5, 4)
    for x, y in stream():
        loss(x, y)
        for j in range(5):
            rows = x[y == j]
            centers[j] -= 0.5 * (centers[j] - rows).sum(dim=0) / (1 + len(rows))
        torch.testing.assert_close(loss.penalty.centers, centers, rtol=1e-4, atol=1e-4)


def test_lambda_falls_to_its_floor() -> None:
    """The schedule of sphereface_model.prototxt: 1000 (1 + 0.12 i)^-1, at least 5; and the other release's."""
    schedule = losses.LambdaAnnealing()
    for i in (1, 2, 10, 1000, 1658, 10**6):
        expected = max(5.0, 1000 / (1 + 0.12 * i))
        assert float(schedule.strength(torch.tensor(i))) == pytest.approx(1 / (1 + expected), rel=1e-5)
    assert schedule.last_strength == pytest.approx(1 / 6)
    steep = losses.LambdaAnnealing(lambda_gamma=1e-4, lambda_power=2.0)
    assert float(steep.strength(torch.tensor(30_000))) == pytest.approx(1 / (1 + 1000 * 4.0**-2), rel=1e-5)
    loss = losses.create("sphereface", 5, 4)
    for x, y in stream():
        loss(x, y)
    assert int(loss.iteration) == STEPS


@pytest.mark.parametrize("name", ["curricularface", "adaface", "adacos", "center", "sphereface", "hyperspherical"])
def test_nothing_moves_in_eval_mode_by_any_way_in(name: str) -> None:
    options = {"variant": "v3"} if name == "hyperspherical" else {}
    loss = losses.create(name, 5, 4, **options).eval()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    x, y = next(stream())
    loss(x, y)
    loss.logits(x)
    loss.margin_logits(x, y)
    loss.row_losses(x, y)
    loss.training_loss(x, y)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())


PAIR_CASES = [
    *(("triplet", {"mining": mining}) for mining in ("batch-all", "batch-hard", "semi-hard", "semi-hard-drop")),
    ("triplet", {"mining": "batch-all", "margin": "soft"}),
    ("triplet", {"squared": True}),
    ("triplet", {"normalize": False}),
    ("contrastive", {}),
    ("contrastive", {"variant": "linear"}),
    ("supcon", {}),
    ("multi-similarity", {}),
    ("multi-similarity", {"mining": "none"}),
    ("circle-pair", {}),
    ("circle-pair", {"variant": "batch"}),
]


@pytest.mark.parametrize(("name", "options"), PAIR_CASES)
def test_tiles_give_what_the_whole_matrix_gives(name: str, options, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(23, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 5, (23,), generator=generator)
    found = []
    for tile in (2**22, 3 * 23 + 1, 1):
        monkeypatch.setattr(pair_table, "TILE", tile)
        points = x.clone().requires_grad_()
        value = losses.create(name, 5, 4, **options)(points, y)
        value.backward()
        found.append((value.detach(), points.grad))
    assert found[0][0] > 0
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_squared_distances_are_those_of_facenet() -> None:
    x = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64))
    value = losses.create("triplet", 2, 2, squared=True, margin=1.0, mining="batch-hard")(x, torch.tensor([0, 0, 1]))
    d = [float((x[i] - x[j]).square().sum()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert float(value) == pytest.approx(sum(max(0.0, d[0] - far + 1) for far in d[1:]) / 2)


def test_a_common_offset_costs_raw_distances_nothing() -> None:
    x = torch.tensor([[100.0, 0.0], [100.03, 0.0], [100.02, 0.0]], requires_grad=True)
    value = losses.create("triplet", 2, 2, normalize=False, margin=1.0, mining="batch-hard")(x, torch.tensor([0, 0, 1]))
    value.backward()
    assert float(value.detach()) == pytest.approx(1.015, abs=1e-3) and x.grad.abs().max() > 0.1


def test_active_share_counts_triplets() -> None:
    x, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    loss = losses.create("triplet", 2, 4)
    assert loss.active_share(x, y) == 1.0
    assert loss.active_share(torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]]), y) == 0.0
