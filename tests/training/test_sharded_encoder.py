"""An encoder that is divided over two processes learns what a whole one does."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from launch import run_ranks

from steradian.errors import UsageError
from steradian.models.tensors import load_tensors
from steradian.training import Recipe, RunFolder, load_data, make_plan, train
from steradian.training.checkpoint import latest_checkpoint
from steradian.training.plan import TrainingPlan

# Batches of 25 images are parts of 12 and 13, which pass through the encoder in one and two parts; the last batch of an
# epoch has one image, and the second process has none. Without batch norm, which would see another part of each batch.
CHANGES = {
    "encoder": "convnext_atto", "data.image_size": 32, "neck": "none", "embedding_size": 320,
    "training.batch_size": 25, "training.images_at_once": 12, "training.epochs": 1, "training.layer_decay": 0.9,
    "training.optimizer": "sgd", "training.learning_rate": 0.01, "training.clip": 0.5, "training.shard_encoder": True,
}  # fmt: skip


def test_two_processes_with_half_an_encoder_each_go_on_as_one_with_all_of_it(programs: Path, tmp_path: Path) -> None:
    def worker(count: int, folder: Path, stop: int = -1) -> list[tuple[int, str, str]]:
        script, words = Path(__file__).parent / "group_worker.py", (str(folder), str(stop), json.dumps(CHANGES), "")
        return run_ranks(count, script, *words, python=programs / "python", seconds=120.0)

    stopped = worker(2, tmp_path / "begun", 2)
    assert [code for code, _, _ in stopped] == [130, 130], stopped
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "begun"))
    assert checkpoint is not None
    small, large = sorted(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    assert small > 0.8 * large
    weights = []
    for count in (1, 2):
        shutil.copytree(tmp_path / "begun", tmp_path / str(count))
        done = worker(count, tmp_path / str(count))
        assert [code for code, _, _ in done] == [0] * count, done
        weights.append(load_tensors(tmp_path / str(count) / "model" / "model.safetensors"))
    apart = [(weights[0][name] - tensor).abs().max() for name, tensor in weights[1].items()]
    assert float(torch.stack(apart).max()) < 1e-6


def test_what_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe().changed(**{"training.shard_encoder": True})
    plan = make_plan(recipe, load_data(recipe))
    assert not plan.divides_encoder, "there is one process"
    monkeypatch.setattr(TrainingPlan, "divides_encoder", True)
    with pytest.raises(UsageError, match="needs a folder for the run"):
        train(plan)
    frozen = recipe.changed(**{"encoder": "convnext_atto", "data.image_size": 32, "training.head_epochs": 2})
    with pytest.raises(UsageError, match="features of a frozen one are computed once"):
        make_plan(frozen, plan.data)
