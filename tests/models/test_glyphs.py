"""The built-in model: small, loadable by name, and it knows a drawn symbol again that it was never trained on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import steradian as st
from steradian import metrics


def drawn(strokes: list[list[tuple[float, float]]], seed: int) -> Image.Image:
    """Strokes in the unit square, by a hand that is not quite steady."""
    generator = np.random.default_rng(seed)
    page = Image.new("L", (140, 140), 255)
    pen = ImageDraw.Draw(page)
    shift, size = generator.normal(0, 4, 2), 90 * (1 + generator.normal(0, 0.06))
    for stroke in strokes:
        points = np.array(stroke) * size + 25 + shift + generator.normal(0, 2.5, (len(stroke), 2))
        pen.line([tuple(point) for point in points], fill=0, width=7, joint="curve")
    return page.resize((28, 28), Image.Resampling.LANCZOS)


CIRCLE = [(0.5 + 0.45 * np.cos(t), 0.5 + 0.45 * np.sin(t)) for t in np.linspace(0, 6.3, 24)]
SYMBOLS = {
    "house": [[(0, 1), (0, 0.4), (0.5, 0), (1, 0.4), (1, 1), (0, 1)]],
    "arrow": [[(0, 0.5), (1, 0.5)], [(0.65, 0.15), (1, 0.5), (0.65, 0.85)]],
    "wheel": [CIRCLE, [(0.5, 0.05), (0.5, 0.95)], [(0.05, 0.5), (0.95, 0.5)]],
    "zigzag": [[(0, 0), (0.33, 1), (0.66, 0), (1, 1)]],
    "ladder": [[(0.2, 0), (0.2, 1)], [(0.8, 0), (0.8, 1)], [(0.2, 0.3), (0.8, 0.3)], [(0.2, 0.7), (0.8, 0.7)]],
    "fish": [[(0, 0.5), (0.4, 0.15), (1, 0.8)], [(0, 0.5), (0.4, 0.85), (1, 0.2)], [(1, 0.2), (1, 0.8)]],
}


@pytest.fixture(scope="module")
def model() -> st.Recognizer:
    return st.Recognizer.load("glyphs")


def test_it_is_small_and_says_what_it_promises(model: st.Recognizer) -> None:
    folder = Path(str(resources.files("steradian.models"))) / "glyphs"
    body = sum(tensor.numel() for part in (model.encoder, model.neck) for tensor in part.state_dict().values())
    assert 4 * body < 2.5e6 and sum(path.stat().st_size for path in folder.iterdir()) < 3e6
    assert "Omniglot" in model.manifest.provenance["data"]["source"] and (folder / "README.md").is_file()
    assert {threshold.far for threshold in model.thresholds} >= {1e-1, 1e-2, 1e-3}
    assert "never seen" in model.thresholds[0].measured_on and model.calibration is not None


def test_symbols_drawn_again_are_nearest_to_their_own(model: st.Recognizer) -> None:
    names = list(SYMBOLS)
    enrolled = model.embed([drawn(SYMBOLS[name], 1) for name in names])
    probes = model.embed([drawn(SYMBOLS[name], seed) for seed in range(2, 12) for name in names])
    labels = np.tile(np.arange(len(names)), 10)
    found = metrics.candidates(probes, labels, enrolled, np.arange(len(names)))
    assert metrics.cmc(found, (1,))[1] >= 0.95
    answer = model.verify(drawn(SYMBOLS["house"], 1), drawn(SYMBOLS["house"], 5), far=1e-2)
    other = model.verify(drawn(SYMBOLS["house"], 1), drawn(SYMBOLS["zigzag"], 5), far=1e-2)
    assert answer.same and not other.same and answer.probability > 0.5 > other.probability


def test_the_name_goes_before_a_folder_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glyphs").mkdir()
    assert st.Recognizer.load("glyphs").spec.encoder == "residual-wide"
