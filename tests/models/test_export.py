"""Exported models give the same answers, hold what they need, and are not written where they would not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from steradian.data import Preprocessing
from steradian.data.decode import decode
from steradian.data.model_input import samples
from steradian.errors import InputError, StorageError, UsageError
from steradian.models import ModelSpec, Recognizer
from steradian.models import export as room
from steradian.models.export import DESCRIPTION, export, photographs


@pytest.fixture(scope="module")
def glyphs() -> Recognizer:
    return Recognizer.load("glyphs")


@pytest.fixture(scope="module")
def exported(glyphs: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Path]:
    """Copy the export of the drawings in a format to a folder; each format is exported once."""
    folder = tmp_path_factory.mktemp("exported")

    def copied(to: str, out: Path) -> Path:
        path = folder / f"{to}.txt"
        if not path.is_file():
            path.write_text(export(glyphs, folder / to, to).name)
        shutil.copytree(folder / to, out)
        return out / path.read_text()

    return copied


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
def test_the_same_embeddings_and_logits_for_any_batch(
    glyphs: Recognizer, exported: Callable[[str, Path], Path], tmp_path: Path, to: str
) -> None:
    path = exported(to, tmp_path / "out")
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


def difficult_pictures(folder: Path) -> dict[str, Path]:
    """A photograph as cameras, phones, programs and scanners store it."""
    photo = Image.fromarray(load_sample_images().images[0])
    turned, clear = Image.Exif(), photo.convert("RGBA")
    turned[0x0112] = 6
    mask = Image.new("L", photo.size, 0)
    ImageDraw.Draw(mask).ellipse((150, 50, 450, 380), fill=255)
    clear.putalpha(mask)
    deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    made = {"plain.png": photo, "cut-out.png": clear, "16-bit.png": deep, "palette.gif": photo.quantize(32)}
    for name, image in made.items():
        image.save(folder / name)
    photo.save(folder / "phone.jpg", exif=turned, quality=92)
    photo.convert("CMYK").save(folder / "print.jpg")
    return {name: folder / name for name in [*made, "phone.jpg", "print.jpg"]}


def test_the_how_to_gives_the_numbers_of_the_model(
    glyphs: Recognizer, exported: Callable[[str, Path], Path], tmp_path: Path
) -> None:
    pictures = difficult_pictures(tmp_path)
    exported("onnx", tmp_path / "glyphs-onnx")
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "export-a-model.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert block.count('"photos/hat/01.jpg"') == 1
    for name, path in pictures.items():
        code = block.replace("photos/hat/01.jpg", str(path)).replace("print(embedding.shape)", "")
        code += "print(json.dumps(embedding[0].tolist()))\nassert not {'steradian', 'torch'} & sys.modules.keys()\n"
        ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        np.testing.assert_allclose(json.loads(ran.stdout), glyphs.embed([path])[0], atol=2e-4, err_msg=name)


def test_samples_are_those_of_the_model(tmp_path: Path) -> None:
    shape = Preprocessing(40, 3, (0.5,) * 3, (0.5,) * 3, 0.875, "bicubic")
    told = {"channels": 3, "size": 40, "crop": 0.875, "interpolation": "bicubic"}
    for name, path in difficult_pictures(tmp_path).items():
        expected = shape.square(decode(path, shape.shortest))[None] / 255.0
        np.testing.assert_allclose(samples(path, told), expected, atol=1e-7, err_msg=name)


def test_files_of_others_beside_an_export_stay(
    glyphs: Recognizer, exported: Callable[[str, Path], Path], tmp_path: Path
) -> None:
    exported("pt2", tmp_path / "out")
    (tmp_path / "out" / "model.plan").write_text("mine")
    with pytest.raises(UsageError, match="holds other files too"):
        export(glyphs, tmp_path / "out", "pt2")
    assert (tmp_path / "out" / "model.plan").read_text() == "mine"


def test_two_single_images_are_compared(glyphs: Recognizer, tmp_path: Path) -> None:
    pictures = [*difficult_pictures(tmp_path).values()]
    assert glyphs.verify(pictures[0], pictures[0]).same
    with pytest.raises(InputError, match="but 7 were given"):
        glyphs.verify(tmp_path, pictures[0])
