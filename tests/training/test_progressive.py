"""Views that get harder, and what holds them together: formulas by hand, exact resume, refusals (system A)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from steradian.data.progressive import HarderView, ProgressiveViews
from steradian.data.views import RandomView
from steradian.errors import UsageError
from steradian.studies.discovery.view_sheet import write_view_sheet
from steradian.training import Recipe, RunFolder, load_data, make_plan, train
from steradian.training.batches import Batch, Batches
from steradian.training.consistency import angle, divergence, symmetric_divergence
from steradian.training.interrupts import Interrupted
from steradian.training.preflight import preflight
from steradian.training.run import make_stages, start

V, N, C = 3, 5, 4


@pytest.fixture(scope="module")
def digits():
    whole = load_data(Recipe())
    return replace(whole, splits=replace(whole.splits, train=whole.splits.train[:120]))


def recipe(**changes) -> Recipe:
    settings = {"embedding_size": 4, "training.epochs": 2, "training.batch_size": 40, "progressive.views": 3}
    return Recipe().changed(**{**settings, **changes})


def by_hand(logits: torch.Tensor, kind: str) -> float:
    told = logits.softmax(dim=1).view(V, N, C)
    total = 0.0
    for view in range(1, V):
        for image in range(N):
            p, q = told[0, image], told[view, image]
            if kind == "kl":
                total += float((p * (p / q).log()).sum())
            else:
                m = (p + q) / 2
                total += float(0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum())
    return total / ((V - 1) * N)


def test_divergences_are_their_formulas() -> None:
    logits = torch.randn(V * N, C, dtype=torch.float64, requires_grad=True)
    assert float(divergence(logits, V).detach()) == pytest.approx(by_hand(logits.detach(), "kl"), rel=1e-5)
    assert float(symmetric_divergence(logits, V).detach()) == pytest.approx(by_hand(logits.detach(), "js"), rel=1e-5)
    divergence(logits, V).backward()
    assert not logits.grad[:N].any() and logits.grad[N:].any()
    # d KL / d z_v = (q - p) / ((V - 1) N).
    told = logits.detach().softmax(dim=1).view(V, N, C)
    expected = (told[1:] - told[:1]) / ((V - 1) * N)
    torch.testing.assert_close(logits.grad[N:].view(V - 1, N, C), expected, rtol=1e-4, atol=1e-6)
    logits.grad = None
    symmetric_divergence(logits, V).backward()
    assert logits.grad[:N].any()
    same = torch.randn(N, C).repeat(V, 1)
    assert abs(float(divergence(same, V))) < 1e-6 and abs(float(symmetric_divergence(same, V))) < 1e-6
    apart = torch.tensor([[80.0, 0.0], [0.0, 80.0]])
    assert float(symmetric_divergence(apart, 2)) == pytest.approx(np.log(2))


def test_angles_are_measured_from_the_first_view() -> None:
    raw = torch.randn(V * N, 6, requires_grad=True)
    told = torch.nn.functional.normalize(raw.detach(), dim=1).view(V, N, 6)
    expected = float((1 - (told[:1] * told[1:]).sum(dim=2)).mean())
    found = angle(raw, V)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-6)
    found.backward()
    assert not raw.grad[:N].any() and raw.grad[N:].any()


def test_each_view_is_made_from_the_one_before_it() -> None:
    batch = torch.rand(4, 3, 16, 16)
    still = RandomView(rotation=0.0, scale=0.0, shear=0.0, shift=0.0)
    chain = ProgressiveViews(still, HarderView(probability=1.0), 4)(batch, torch.Generator().manual_seed(0))
    assert chain.shape == (16, 3, 16, 16) and float(chain.min()) >= 0.0 and float(chain.max()) <= 1.0
    views = chain.view(4, 4, 3, 16, 16)
    torch.testing.assert_close(views[0], batch)
    # The second step of the chain takes the first one's outcome, not the image.
    harder, generator = HarderView(probability=1.0), torch.Generator().manual_seed(0)
    step = still(batch, generator)
    for view in views[1:]:
        step = harder(step, generator)
        torch.testing.assert_close(view, step)
    same = ProgressiveViews(still, HarderView(probability=0.0), 3)(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same.view(3, 4, 3, 16, 16)[2], batch)


def test_batches_hold_all_views_with_their_labels(digits) -> None:
    batches = make_plan(recipe(), digits).batches(digits.splits.train)
    batch = Batch(digits.splits.train[:10], 10)
    stepped = replace(batch, step=7)
    assert batches.images(stepped).shape[0] == 30 and batches.images(batch).shape[0] == 10
    assert batches.labels(stepped).tolist() == batches.labels(batch).tolist() * 3
    assert torch.equal(batches.images(stepped), batches.images(stepped))


@pytest.mark.parametrize("consistency", ["kl", "js", "angle"])
def test_training_on_views_resumes_exactly_and_one_view_turns_it_off(digits, tmp_path: Path, consistency: str) -> None:
    wanted = recipe(**{"progressive.consistency": consistency})
    whole = train(make_plan(wanted, digits), RunFolder(tmp_path / "whole")).model.state_dict()

    def interrupt(step: int, total: int, note: str) -> None:
        if step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(make_plan(wanted, digits), RunFolder(tmp_path / "part"), on_batch=interrupt)
    resumed = train(make_plan(wanted, digits), RunFolder(tmp_path / "part")).model.state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())
    heavier = train(make_plan(wanted.changed(**{"progressive.weight": 5.0}), digits)).model.state_dict()
    assert any(not torch.equal(tensor, whole[name]) for name, tensor in heavier.items())
    alone = start(make_plan(recipe(**{"progressive.views": 1}), digits))
    assert (
        make_plan(recipe(**{"progressive.views": 1}), digits)
        .batches(digits.splits.train)
        .views_of(Batch(digits.splits.train[:2], 2, 3))
        == 1
    )
    assert alone.progressive.views == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": None}, "needs random views and no mixup"),
        ({"training.mixup": 0.5}, "needs random views and no mixup"),
        ({"loss.name": "triplet"}, "Set progressive.consistency to angle"),
        ({"loss.options": {"head": "tiled"}}, "Set progressive.consistency to angle"),
    ],
)
def test_views_that_have_no_meaning_are_refused(digits, changes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        preflight(make_plan(recipe(**changes), digits))


def test_a_frozen_encoder_has_its_views_made_anew_for_the_neck_to_learn_from(digits) -> None:
    frozen = {"encoder": "mobilenetv3_small_050", "neck": "mlp", "training.freeze": "all"}
    wanted = recipe(**{**frozen, "data.image_size": 32})
    seen = load_data(wanted)
    seen = replace(seen, splits=replace(seen.splits, train=seen.splits.train[:80]))
    plan = make_plan(wanted, seen)
    state = start(plan)
    (stage,) = make_stages(plan)
    assert stage.train.views_of(Batch(seen.splits.train[:2], 2, 0)) == 3 and type(stage.train) is Batches
    fresh = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    trained = train(make_plan(wanted, seen)).model.state_dict()
    moved = {name.split(".")[0] for name, tensor in trained.items() if not torch.equal(tensor, fresh[name])}
    assert moved == {"neck", "head"}


def test_a_contact_sheet_shows_images_beside_their_views(tmp_path: Path) -> None:
    write_view_sheet("digits", None, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500 and sheet.height > 600 and len(sheet.convert("L").getcolors(256)) > 10
