"""A face network from a user's own ONNX file takes the place of that of the model "faces"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from matplotlib import cbook
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from steradian.errors import StorageError, UsageError
from steradian.finding import finders
from steradian.finding.faces import ArcFaceFaces
from steradian.models.embedder import open_model
from steradian.models.exported import ExportedModel
from steradian.models.foreign_onnx import wrap

WIDTH = 16


def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(48, WIDTH)).astype(np.float32)


def network(path: Path, size: int = 112, scale: float = 1.0) -> Path:
    """Write a network of the layout of insightface's files: means of 16 cells, then one layer."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["cells"], kernel_shape=[size // 4] * 2, strides=[size // 4] * 2),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["683"]),
    ]
    graph = helper.make_graph(
        nodes,
        "torch-jit-export",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["None", 3, size, size])],
        [helper.make_tensor_value_info("683", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(scale * weights(), "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)
    return path


def portrait() -> Image.Image:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB")


def test_the_eyes_are_where_such_networks_expect_them() -> None:
    pixels = np.asarray(portrait())
    (region,) = finders.find(pixels, "faces-arcface")
    template = 112 * ArcFaceFaces.template
    middles = [template[2:4].mean(axis=0), template[:2].mean(axis=0)]
    assert np.allclose(middles, [[38.2946, 51.6963], [73.5318, 51.5014]], atol=1e-6)
    square = finders.cut(pixels, region, 112, ArcFaceFaces.template)
    # The pupils are dark in it: darker than the cheeks below.
    gray = square.mean(axis=2)
    for x, y in middles:
        eye = gray[round(y) - 4 : round(y) + 5, round(x) - 7 : round(x) + 8]
        cheek = gray[round(y) + 22 : round(y) + 30, round(x) - 7 : round(x) + 8]
        assert eye.min() < cheek.min() - 20


def test_a_network_of_ones_own_is_a_model_for_galleries(tmp_path: Path, command) -> None:
    network(tmp_path / "own.onnx")
    code, out, _ = command("export", "faces", "--weights", "own.onnx", "--out", "own")
    assert code == 0 and "model.onnx" in out
    model = open_model(tmp_path / "own")
    assert isinstance(model, ExportedModel) and model.embedding_size == WIDTH and model.preprocessing.size == 112
    noise = np.random.default_rng(1).integers(0, 256, (5, 3, 112, 112), np.uint8)
    cells = (noise / 127.5 - 1.0).reshape(5, 3, 4, 28, 4, 28).mean(axis=(3, 5)).reshape(5, -1)
    expected = cells @ weights()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(model.embed_squares(noise) - expected).max() < 1e-5, "RGB, (x - 127.5) / 127.5, unit length"
    (tmp_path / "people" / "Grace").mkdir(parents=True)
    portrait().save(tmp_path / "people" / "Grace" / "1.png")
    assert command("enroll", "own", "people", "--gallery", "g.db")[0] == 0
    code, out, _ = command("identify", "own", "people/Grace/1.png", "--gallery", "g.db", "--threshold", "0.99")
    assert code == 0 and "Grace (similarity 1.000" in out
    assert wrap(tmp_path / "own.onnx", tmp_path / "own").is_file(), "an export may be written again"
    assert open_model(tmp_path / "own").model_id == model.model_id


def test_thresholds_are_measured_on_people(tmp_path: Path) -> None:
    picture = portrait()
    for name in ("ada", "ben"):
        (tmp_path / "people" / name).mkdir(parents=True)
        for number in range(3):
            picture.rotate(number, fillcolor="gray").save(tmp_path / "people" / name / f"{number}.png")
    wrap(network(tmp_path / "own.onnx"), tmp_path / "own", str(tmp_path / "people"))
    model = ExportedModel.load(tmp_path / "own")
    assert model.calibration is not None and model.calibration.measured_on == "6 faces of 2 people"


def test_other_files_are_refused(tmp_path: Path, command) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    outside = network(tmp_path / "outside.onnx")
    onnx.save(onnx.load(outside), outside, save_as_external_data=True, location="w.bin", size_threshold=0)
    for path, told in (
        (tmp_path / "text.onnx", "is no ONNX file, or is damaged"),
        (network(tmp_path / "large.onnx", size=160), r"expected one input \[N, 3, 112, 112\]"),
        (outside, "keeps its weights in other files"),
        (network(tmp_path / "zero.onnx", scale=0.0), "not finite, or zero"),
    ):
        with pytest.raises(StorageError, match=told):
            wrap(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not an export"):
        wrap(network(tmp_path / "own.onnx"), tmp_path / "kept")
    assert command("export", "glyphs", "--weights", "own.onnx", "--out", "x")[0] == 2
    assert command("export", "faces", "--people", "kept", "--out", "x")[0] == 2
