"""What a calibrated model promises, and that it keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from steradian import metrics
from steradian.data import Preprocessing
from steradian.errors import InputError, StorageError
from steradian.models import ModelSpec, Recognizer
from steradian.models.calibration import Calibration, PairCurve
from steradian.models.fitted_calibration import fit_calibration, fit_thresholds, pair_curve


def people(count: int, seed: int, size: int = 6, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around random directions that every seed shares."""
    centers = np.random.default_rng(0).standard_normal((classes, size))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    return (centers[labels] + 0.5 * generator.standard_normal((count, size))).astype(np.float32), labels


def model_of_people() -> Recognizer:
    spec = ModelSpec(
        encoder="small",
        embedding_size=6,
        loss="normface",
        loss_options={"scale": 4.0},
        classes=tuple("abcde"),
        preprocessing=Preprocessing(8, 1, (0.5,), (0.3,)),
    )
    model = Recognizer(spec).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(np.random.default_rng(0).standard_normal((5, 6))))
    return model


def calibrated(count: int = 400) -> Recognizer:
    model, (raw, labels) = model_of_people(), people(count, seed=1)
    vectors = torch.from_numpy(raw)
    cosine = model.center_cosines(vectors).amax(dim=1).numpy()
    model.calibration = fit_calibration(
        model.logits(vectors).numpy(), cosine, labels, pair_curve([(raw, labels)]), "people"
    )
    model.thresholds = fit_thresholds([(raw, labels)], "people")
    return model


def test_promises_are_kept_on_new_images() -> None:
    model, (raw, labels) = calibrated(), people(4000, seed=2)
    chances = model.probabilities(torch.from_numpy(raw)).numpy()
    fitted = model.calibration
    assert metrics.reliability(chances.max(axis=1), chances.argmax(axis=1) == labels).error < 0.06
    own = chances[np.arange(len(labels)), labels]
    cosine = model.center_cosines(torch.from_numpy(raw)).amax(dim=1).numpy()
    for share in (0.8, 0.9, 0.95, 0.99):
        assert np.mean(1.0 - own <= fitted.bound(share)) == pytest.approx(share, abs=0.045)
        assert np.mean(cosine >= fitted.known_cosine(share)) == pytest.approx(share, abs=0.045)
    scores = metrics.pair_scores(raw[:1500], labels[:1500])
    for threshold in model.thresholds:
        measured = np.mean(scores.impostor > threshold.cosine)
        assert measured == pytest.approx(threshold.far, rel=0.5)
        assert threshold.low <= threshold.cosine <= threshold.high
    assert [threshold.far for threshold in model.thresholds][:2] == [0.1, 0.01]


def test_pair_probabilities_are_those_of_even_odds() -> None:
    model, (raw, labels) = calibrated(), people(1500, seed=3)
    scores = metrics.pair_scores(raw, labels)
    middle = 0.5 * (np.median(scores.genuine) + np.median(scores.impostor))
    near_g = np.mean(np.abs(scores.genuine - middle) < 0.05)
    near_i = np.mean(np.abs(scores.impostor - middle) < 0.05)
    assert model.calibration.pairs(middle) == pytest.approx(near_g / (near_g + near_i), abs=0.1)
    assert model.calibration.pairs(1.0) > 0.95 and model.calibration.pairs(-1.0) < 0.05


def test_answers_name_a_set_and_say_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calibrated().save(tmp_path / "m")
    model = Recognizer.load(tmp_path / "m")
    center = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 6))).float()
    between = torch.nn.functional.normalize(center[0], dim=0) + torch.nn.functional.normalize(center[1], dim=0)
    raw = torch.stack([center[2], between, -center.sum(dim=0)])
    monkeypatch.setattr(model, "raw_embeddings", lambda *arguments: raw)
    sure, torn, strange = model.classify([])
    assert sure.calibrated and sure.known and sure.candidates == ("c",) and sure.coverage == 0.95
    assert set(torn.candidates) >= {"a", "b"} and torn.candidates[: len(torn.ranking)] == tuple(
        name for name, _ in torn.ranking[: len(torn.candidates)]
    )
    assert strange.known is False and len(strange.candidates) >= 1
    assert len(model.classify([], coverage=0.99)[1].candidates) >= len(torn.candidates)
    with pytest.raises(InputError, match=r"not calibrated for a coverage of 0.5; it has 0.8, 0.9, 0.95, 0.99"):
        model.classify([], coverage=0.5)

    monkeypatch.setattr(model, "embed", lambda images, **options: torch.nn.functional.normalize(raw[:2]).numpy())
    answer = model.verify("a.png", "b.png", far=0.1)
    assert answer.similarity == pytest.approx(float(torch.cosine_similarity(raw[0], raw[1], dim=0)), abs=1e-6)
    assert answer.same == (answer.similarity > answer.threshold) and 0.0 <= answer.probability <= 1.0
    with pytest.raises(
        InputError, match="no threshold for a false-accept rate of 1e-09; it has thresholds for 0.1, 0.01"
    ):
        model.verify("a.png", "b.png", far=1e-9)


def test_a_model_without_calibration_says_so() -> None:
    model = model_of_people()
    found = model.classify(torch.zeros(1, 1, 8, 8))[0]
    assert not found.calibrated and found.candidates is None and found.known is None
    with pytest.raises(InputError, match="it has none, because too few images were held out"):
        model.verify(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert fit_calibration(np.zeros((19, 2)), np.zeros(19), np.zeros(19, int), None, "few") is None


def test_calibrating_again_keeps_the_id(tmp_path: Path) -> None:
    model = calibrated()
    first = model.save(tmp_path / "m")
    model.thresholds = ()
    assert model.save(tmp_path / "n").id == first.id and first.calibration == model.calibration
    again = Recognizer.load(tmp_path / "m")
    assert again.calibration == model.calibration and len(again.thresholds) >= 2


def test_a_damaged_curve_is_refused(tmp_path: Path) -> None:
    calibrated().save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    content = json.loads(path.read_text())
    content["calibration"]["pairs"]["cosines"].reverse()
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="cosines and probabilities must rise"):
        Recognizer.load(tmp_path / "m")
    with pytest.raises(ValueError, match="a probability is needed for each"):
        PairCurve(cosines=[0.0, 1.0], probabilities=[0.0])
    with pytest.raises(ValueError, match="greater than 0"):
        Calibration(temperature=0.0, measured_on="x")
