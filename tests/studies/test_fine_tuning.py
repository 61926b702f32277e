"""A tuned encoder is kept only where held-out groups and left-out classes say that it pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import steradian as st
from steradian.errors import UsageError
from steradian.models.encoders import build_encoder
from steradian.models.low_rank import add_low_rank, merged_state
from steradian.models.staged import bare
from steradian.models.weight_packages import PACKAGES
from steradian.studies import fine_tuning
from steradian.studies.single_run import Run, train
from steradian.training import Dataset, Recipe


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five kinds of colored noise, eight pictures each."""
    folder = tmp_path_factory.mktemp("noise") / "photos"
    for label in range(5):
        (folder / f"kind {label}").mkdir(parents=True)
        color = np.random.default_rng(label).uniform(60, 190, 3)
        for number in range(8):
            generator = np.random.default_rng([label, number])
            blocks = np.kron(generator.normal(size=(8, 8, 3)), np.ones((8, 8, 1)))
            pixels = color + 40 * blocks + generator.normal(0, 30, (64, 64, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"kind {label}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def adapted(photos: Path) -> Run:
    """A run with the same photographs whose encoder stays as it is."""
    settings = {"data.source": str(photos), "data.image_size": 64, "weights": "package"}
    return train(Recipe().changed(**settings), photos.parent / "auto", quiet=True)


def tuned(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch, gain: float, slack: float, **changes: object
) -> Run:
    monkeypatch.setattr(fine_tuning, "EPOCHS", 2)
    monkeypatch.setattr(fine_tuning, "LEAST_GAIN", gain)
    monkeypatch.setattr(fine_tuning, "SLACK", slack)
    settings = {"data.source": str(photos), "data.image_size": 64, "weights": "package", "adapt": "full", **changes}
    return train(Recipe().changed(**settings), out / "run", quiet=True)


def is_untrained(run: Run) -> bool:
    published = PACKAGES["lite0"].tensors()
    own = bare(run.model.encoder).state_dict()
    return all(torch.equal(own[name], tensor) for name, tensor in published.items() if name in own)


def test_a_winner_is_tuned_on_everything_and_calibrated_by_the_hold_outs(
    photos: Path, tmp_path: Path, monkeypatch
) -> None:
    run = tuned(photos, tmp_path, monkeypatch, gain=-1.0, slack=2.0)
    assert run.evaluation is not None and not is_untrained(run)
    tuning = run.evaluation.metrics.numbers["fine_tuning"]
    assert [one["name"] for one in tuning["attempts"]] == ["frozen", *["last layers"] * 2, *["all layers"] * 2]
    assert "was chosen" in tuning["verdict"] and tuning["verdict"] in run.evaluation.notes
    new = run.evaluation.metrics.numbers["new_classes"]
    assert new == {"model": tuning["tuned"], "untrained": tuning["frozen"], "images": new["images"]}
    assert 0 < new["images"] < 30
    # A third of the 30 or so images was held out, once.
    assert run.model.calibration is None or int(run.model.calibration.measured_on.split()[0]) < 20
    assert "all layers, 50% tuned" in run.folder.report.read_text()
    again = st.Recognizer.load(run.folder.model)
    pictures = sorted(photos.rglob("*.png"))[:4]
    np.testing.assert_allclose(again.embed(pictures), run.model.embed(pictures), atol=1e-5)


@pytest.mark.parametrize(
    ("gain", "slack", "verdict"), [(2.0, 2.0, "gained too little"), (-1.0, -2.0, "but loses on new ones")]
)
def test_a_loser_leaves_everything_as_it_was(
    photos: Path, adapted: Run, tmp_path: Path, monkeypatch, gain: float, slack: float, verdict: str
) -> None:
    run = tuned(photos, tmp_path, monkeypatch, gain, slack)
    assert run.evaluation is not None and is_untrained(run)
    assert verdict in run.evaluation.metrics.numbers["fine_tuning"]["verdict"]
    assert adapted.model.model_id == run.model.model_id and adapted.model.thresholds == run.model.thresholds


def test_a_budget_that_is_too_small_is_said(photos: Path, tmp_path: Path, monkeypatch) -> None:
    run = tuned(photos, tmp_path, monkeypatch, 2.0, 2.0, adapt=None, budget=1e-4)
    assert run.evaluation is not None and is_untrained(run)
    recipe = run.folder.read_recipe()
    assert recipe is not None and recipe.adapt == "full"
    note = " ".join(run.evaluation.notes)
    assert "last layers were not tuned" in note and "all layers were not tuned" in note and "of 0.0001 minutes" in note


def test_what_does_not_go_with_a_budget(photos: Path) -> None:
    for adapt in ("auto", "train"):
        recipe = Recipe().changed(**{"data.source": str(photos), "adapt": adapt, "budget": 5.0})
        with pytest.raises(UsageError, match=f"--adapt {adapt} tunes no encoder"):
            Dataset.open(recipe).with_adaptation()
    recipe = Recipe().changed(**{"data.source": str(photos), "encoder": "small", "budget": 5.0})
    with pytest.raises(UsageError, match="--budget needs all layers of a pretrained encoder"):
        Dataset.open(recipe).with_adaptation()


def test_a_vision_transformer_also_gets_low_rank_updates(photos: Path, monkeypatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, _ = build_encoder("vit_tiny_patch16_224", channels=3, size=64)
    save_file(dict(encoder.state_dict()), tmp_path / "vit.safetensors")
    changes = {"encoder": "vit_tiny_patch16_224", "weights": str(tmp_path / "vit.safetensors")}
    run = tuned(photos, tmp_path, monkeypatch, 2.0, 2.0, **changes)
    assert run.evaluation is not None
    attempts = run.evaluation.metrics.numbers["fine_tuning"]["attempts"]
    assert [one["name"] for one in attempts[-2:]] == ["low-rank updates"] * 2


def test_low_rank_updates_start_at_nothing_and_merge_into_the_weights() -> None:
    torch.manual_seed(0)
    encoder, _ = build_encoder("vit_tiny_patch16_224", channels=3, size=32)
    plain, _ = build_encoder("vit_tiny_patch16_224", channels=3, size=32)
    images, encoder = torch.rand(2, 3, 32, 32), encoder.eval()
    with torch.no_grad():
        before = encoder(images)
        add_low_rank(encoder)
        torch.testing.assert_close(encoder(images), before)
        for name, parameter in encoder.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(0, 0.05)
        plain.load_state_dict(merged_state(encoder))
        changed = encoder(images)
        torch.testing.assert_close(plain.eval()(images), changed, atol=1e-4, rtol=1e-4)
    assert float((changed - before).abs().max()) > 1e-3
    learned = {name.rpartition(".")[2] for name, _ in encoder.named_parameters() if ".attn." in name or ".mlp." in name}
    assert learned == {"up", "down"}
