"""The artifact: what is saved is what is loaded, and files from strangers are safe to open."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import steradian as st
from steradian.data import Preprocessing
from steradian.errors import DataError, InputError, StorageError, UsageError
from steradian.models import ModelSpec, Recognizer


def spec(**changes) -> ModelSpec:
    settings = {
        "encoder": "small",
        "embedding_size": 3,
        "loss": "arcface",
        "loss_options": {"scale": 16.0, "margin": 0.3},
        "classes": ("cat", "dog", 'ü,"<b>'),
        "preprocessing": Preprocessing(8, 1, (0.3,), (0.4,)),
    }
    return ModelSpec(**{**settings, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Recognizer(spec()).eval().save(tmp_path / "model")
    return tmp_path / "model"


IMAGES = torch.arange(5 * 64).reshape(5, 1, 8, 8).to(torch.uint8)


@pytest.mark.parametrize("loss", ["arcface", "softmax", "sphereface", "triplet"])
def test_round_trip(tmp_path: Path, loss: str) -> None:
    model = Recognizer(spec(loss=loss, loss_options={})).eval()
    if loss == "triplet":
        model.head.set_centers(torch.eye(3), torch.arange(3))
    card = model.save(tmp_path / "m")
    again = st.Recognizer.load(tmp_path / "m")
    assert np.array_equal(model.embed(IMAGES), again.embed(IMAGES))
    assert model.classify(IMAGES) == again.classify(IMAGES)
    assert again.manifest == card and card.calibration is None and card.thresholds == ()
    assert again.save(tmp_path / "n").id == card.id


def test_published_size() -> None:
    """22,783 numbers at 28 pixels, gray, 3 dimensions (SYSTEMS 1.3): parameters and batch-norm statistics."""
    model = Recognizer(spec(preprocessing=Preprocessing(28, 1, (0.1,), (0.3,))))
    body = {**model.encoder.state_dict(prefix="e."), **model.neck.state_dict(prefix="n.")}
    assert sum(tensor.numel() for name, tensor in body.items() if "num_batches" not in name) == 22_783


def test_embeddings_are_unit_vectors_unless_asked(saved: Path) -> None:
    model = Recognizer.load(saved)
    found = model.embed(IMAGES)
    assert found.shape == (5, 3) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    raw = model.embed(IMAGES, normalize=False, batch_size=2)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), found, rtol=1e-5, atol=1e-6)
    assert model.embed([]).shape == (0, 3) and model.classify([]) == []


def test_paths_pil_arrays_and_tensors_agree(saved: Path, tmp_path: Path) -> None:
    model = Recognizer.load(saved)
    array = IMAGES[1, 0].numpy()
    Image.fromarray(array).save(tmp_path / "one.png")
    answers = [
        model.embed(images)
        for images in ([tmp_path / "one.png"], [str(tmp_path / "one.png")], [Image.fromarray(array)], [array])
    ]
    for found in [*answers, model.embed(IMAGES[1:2].float() / 255)]:
        np.testing.assert_allclose(found, model.embed(IMAGES[1:2]), rtol=1e-5, atol=1e-6)


def test_classify_ranks(saved: Path) -> None:
    found = Recognizer.load(saved).classify(IMAGES, top=2)[0]
    assert len(found.ranking) == 2 and not found.calibrated
    assert found.ranking[0][1] >= found.ranking[1][1]
    everything = Recognizer.load(saved).classify(IMAGES, top=99)[0]
    assert sum(p for _, p in everything.ranking) == pytest.approx(1.0)


def test_wrong_images_are_named(saved: Path, tmp_path: Path) -> None:
    model = Recognizer.load(saved)
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        model.embed([tmp_path / "bad.png"])
    with pytest.raises(InputError, match=r"expected pictures .* but got an array of \[2, 5, 8, 8\]"):
        model.embed(torch.zeros(2, 5, 8, 8))
    with pytest.raises(InputError, match="image 0 is a dict"):
        model.embed([{}])
    with pytest.raises(InputError, match="top must be"):
        model.classify(IMAGES, top=0)


def edited(folder: Path, **changes) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "b"]},
        {"embedding_size": 4},
        {"embedding_size": 60000, "classes": ["x"] * 60000},
        {"embedding_size": -1},
        {"encoder": "hf-hub:somebody/something"},
        {"encoder": "resnet18"},
        {"loss": "unknown"},
        {"loss_options": {"margin": -9}},
        {"loss_options": {"nonsense": 1}},
        {"preprocessing": {"size": 10**9, "channels": 1, "mean": [0], "std": [1]}},
        {"preprocessing": {}},
        {"version": 2},
        {"unknown": 1},
        {"id": "0" * 64},
        {"id": "../../etc/passwd"},
        {"classes": ["cat", "dog", "other"]},
    ],
    ids=str,
)
def test_cards_that_do_not_fit_are_refused(saved: Path, changes: dict) -> None:
    edited(saved, **changes)
    with pytest.raises(StorageError):
        Recognizer.load(saved)


def test_damaged_tensors_are_refused(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    for content in (b"", whole[:50], whole[:-8], b"\xff" * 64, (2**60).to_bytes(8, "little") + b"{}"):
        (saved / "model.safetensors").write_bytes(content)
        with pytest.raises(StorageError):
            Recognizer.load(saved)


def test_a_pickle_is_never_executed(saved: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    for name in ("model.safetensors", "model.json"):
        (saved / name).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(StorageError):
            Recognizer.load(saved)
    assert not (tmp_path / "executed").exists()


def test_changed_weights_are_noticed(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    tensors["head.weight"] = tensors["head.weight"] + 1e-3
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(StorageError, match="does not match its id"):
        Recognizer.load(saved)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no model"):
        Recognizer.load(tmp_path)


def test_encoders_by_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'resnet18'"):
        Recognizer(spec(encoder="resnet_18"))
    with pytest.raises(UsageError, match="names of timm"):
        Recognizer(spec(encoder="qqqqqqq"))


@pytest.mark.parametrize("encoder", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_timm_encoders_of_every_kind(tmp_path: Path, encoder: str) -> None:
    model = Recognizer(spec(encoder=encoder, preprocessing=Preprocessing(32, 3, (0.5,) * 3, (0.5,) * 3))).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model.save(tmp_path / "m")
    assert np.array_equal(Recognizer.load(tmp_path / "m").embed(images), model.embed(images))


def test_save_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recognizer(spec())
    first = model.save(tmp_path / "m")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steradian.models.tensors.save_file", full)
    with torch.no_grad():
        model.head.weight.add_(1)
    with pytest.raises(StorageError, match="disk is full"):
        model.save(tmp_path / "m")
    assert Recognizer.load(tmp_path / "m").manifest.id == first.id
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_class_mean_head() -> None:
    model = Recognizer(spec(loss="triplet", loss_options={}))
    points = torch.tensor([[2.0, 0, 0], [0, 5.0, 0], [0, 0.1, 0], [0, 0, 1.0]])
    model.head.set_centers(points, torch.tensor([0, 1, 1, 2]))
    torch.testing.assert_close(model.head.weight, torch.eye(3))
    assert model.head.logits(points).argmax(dim=1).tolist() == [0, 1, 1, 2]
    assert np.isclose(model.head.logits(points).max().item(), 16.0)
