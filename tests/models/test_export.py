"""Exported models give the same answers, hold what they need, and are not written where they would not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from steradian.data import Preprocessing
from steradian.errors import StorageError, UsageError
from steradian.models import ModelSpec, Recognizer
from steradian.models import export as room
from steradian.models.export import DESCRIPTION, export, photographs


@pytest.fixture(scope="module")
def glyphs() -> Recognizer:
    return Recognizer.load("glyphs")


def answers(path: Path, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = session.run(["embedding", "logits"], {session.get_inputs()[0].name: samples})
    elif path.suffix == ".xml":
        run = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(samples)
        found = [run["embedding"], run["logits"]]
    else:
        found = [one.detach().numpy() for one in torch.export.load(path).module()(torch.from_numpy(samples))]
    return np.asarray(found[0]), np.asarray(found[1])


@pytest.mark.parametrize("to", ["onnx", "openvino", "pt2"])
def test_the_same_embeddings_and_logits_for_any_batch(glyphs: Recognizer, tmp_path: Path, to: str) -> None:
    path = export(glyphs, tmp_path / "out", to)
    pixels = photographs(glyphs.spec.preprocessing)
    for count in (1, 3, 4):
        samples = pixels[:count].astype(np.float32) / 255.0
        embedding, logits = answers(path, samples)
        raw = glyphs.raw_embeddings(torch.from_numpy(pixels[:count]))
        np.testing.assert_allclose(embedding, glyphs.embed(torch.from_numpy(pixels[:count])), atol=2e-4)
        np.testing.assert_allclose(logits, glyphs.logits(raw), atol=2e-2)
    told = json.loads((tmp_path / "out" / DESCRIPTION).read_text())
    assert told["labels"] == list(glyphs.spec.classes) and told["model"] == glyphs.manifest.id
    assert told["input"]["size"] == 28 and len(told["thresholds"]) == len(glyphs.thresholds)
    if to == "onnx":
        assert json.loads(onnx.load(path).metadata_props[0].value) == told
    assert export(glyphs, tmp_path / "out", to) == path
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / DESCRIPTION).write_text("{}")
    (tmp_path / "out" / "gallery.db").write_text("people")
    for folder in ("mine", "out"):
        with pytest.raises(UsageError, match="already exists and is not an export"):
            export(glyphs, tmp_path / folder, to)
    assert (tmp_path / "out" / "gallery.db").read_text() == "people"


def test_a_mirrored_model_is_exported_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(
        encoder="small",
        embedding_size=8,
        loss="normface",
        loss_options={},
        classes=("a", "b"),
        preprocessing=Preprocessing(24, 3, (0.5,) * 3, (0.2,) * 3),
        flip_tta=True,
    )
    model = Recognizer(spec).eval()
    path = export(model, tmp_path / "out", "pt2")
    samples = photographs(spec.preprocessing).astype(np.float32) / 255.0
    turned = np.ascontiguousarray(samples[:, :, :, ::-1])
    np.testing.assert_allclose(answers(path, samples)[0], answers(path, turned)[0], atol=1e-5)


def test_a_model_that_came_out_wrong_is_not_written(glyphs: Recognizer, tmp_path: Path, monkeypatch) -> None:
    for part, words in ((0, "their cosine is"), (1, "they differ by")):

        def wrong(module, samples, folder, description, part=part):
            name, run = room._pt2(module, samples, folder, description)

            def turned(values):
                found = run(values)
                found[part] = found[part][::-1]
                return found

            return name, turned

        monkeypatch.setitem(room.WRITERS, "pt2", wrong)
        with pytest.raises(StorageError, match=f"{words}.*Nothing was written"):
            export(glyphs, tmp_path / "out", "pt2")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no format 'coreml'"):
        export(glyphs, tmp_path / "out", "coreml")
