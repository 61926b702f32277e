"""Artifacts, checkpoints and galleries written before the redesign open after it, and give the same answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import steradian as st
from steradian.models.artifact import Artifact
from steradian.training import RunFolder, load_data, make_plan, read_recipe, train

BEFORE = Path(__file__).with_name("before")


def pixels() -> torch.Tensor:
    return torch.from_numpy(np.load(BEFORE / "pixels.npy"))


def test_a_model_keeps_its_id_and_its_embeddings() -> None:
    artifact = Artifact.open(BEFORE / "model")
    artifact.check_id(artifact.tensors())
    model = st.Recognizer.load(BEFORE / "model")
    assert model.model_id == artifact.manifest.id and len(model.thresholds) == 3
    np.testing.assert_allclose(model.embed(pixels()), np.load(BEFORE / "vectors.npy"), atol=1e-5)


def test_a_checkpoint_goes_on_to_the_same_history(tmp_path: Path) -> None:
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    recipe = read_recipe(tmp_path / "run" / "recipe.yaml")
    steps: list[int] = []
    plan = make_plan(recipe, load_data(recipe))
    result = train(plan, RunFolder(tmp_path / "run"), on_batch=lambda step, total, note: steps.append(step))
    assert steps[0] == 6  # the checkpoint is of step 5
    expected = json.loads((BEFORE / "expected.json").read_text())["history"]
    assert len(result.history) == len(expected) == 2
    for row, recorded in zip(result.history, expected, strict=True):
        # Kernels round differently on other processors, and a few steps enlarge it.
        assert row == pytest.approx(recorded, rel=1e-2)


def test_a_gallery_with_an_ivf_index_searches_exactly_and_says_so(tmp_path: Path) -> None:
    for path in BEFORE.glob("gallery.db*"):
        shutil.copy(path, tmp_path)
    model = st.Recognizer.load(BEFORE / "model")
    with (
        pytest.warns(UserWarning, match=r"ivf.*exact"),
        st.Gallery.open(tmp_path / "gallery.db", model) as gallery,
    ):
        answers = gallery.identify(pixels(), threshold=0.3)
        assert len(gallery.thresholds) > 0 and len(gallery.identities()) == 10
    recorded = json.loads((BEFORE / "answers.json").read_text())
    assert [(answer.decision, answer.label) for answer in answers] == [tuple(row[:2]) for row in recorded]
    np.testing.assert_allclose([answer.similarity for answer in answers], [row[2] for row in recorded], atol=1e-5)
