"""Protocols on a model whose answers are known: numbers under their names, and what is left out."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from steradian import metrics
from steradian.data import Preprocessing
from steradian.data.pixels import PixelSet, subset, with_known_first
from steradian.errors import UsageError
from steradian.models import ModelSpec, Recognizer
from steradian.models.fitted_calibration import fit_calibration
from steradian.studies.evaluation import inputs as measurement
from steradian.studies.evaluation.inputs import EmbeddingSet, EvaluationInputs, embed_pixels, head_outputs
from steradian.studies.evaluation.protocols import COMPARED, DEFAULT, PROTOCOLS, measure
from steradian.studies.evaluation.report import build_report
from steradian.studies.evaluation.run import evaluate_on, predictions_csv

GENERATOR = np.random.default_rng(0)
CLASSES = ("a", "b", "c", "d")


def pictures(labels: np.ndarray, seed: int, noise: float = 40.0) -> np.ndarray:
    """A bright square per class, in noise."""
    generator = np.random.default_rng(seed)
    found = generator.normal(90, noise, (len(labels), 1, 12, 12))
    for image, label in zip(found, labels, strict=True):
        row, column = divmod(int(label), 3)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 90
    return found.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Recognizer:
    """Class means of a random encoder: it names most of its four classes rightly."""
    torch.manual_seed(0)
    spec = ModelSpec(
        encoder="small",
        embedding_size=8,
        loss="triplet",
        loss_options={},
        classes=CLASSES,
        preprocessing=Preprocessing(12, 1, (0.4,), (0.2,)),
    )
    made = Recognizer(spec)
    labels = np.repeat(np.arange(4), 50)
    images = torch.from_numpy(pictures(labels, 1))
    made.train()
    for _ in range(30):
        made(made.prepare(images))
    made.eval()
    raw = made.raw_embeddings(images)
    made.head.set_centers(raw, torch.from_numpy(labels))
    held = np.repeat(np.arange(4), 60)
    vectors = made.raw_embeddings(torch.from_numpy(pictures(held, 2)))
    cosine = made.center_cosines(vectors).amax(dim=1).numpy()
    made.calibration = fit_calibration(made.logits(vectors).numpy(), cosine, held, None, "squares")
    return made


def seen(model: Recognizer, labels: np.ndarray, seed: int) -> EmbeddingSet:
    found = PixelSet("made", pictures(labels, seed), labels, (*CLASSES, "e", "f", "g"), None, ())
    return embed_pixels(model, found)


def material(model: Recognizer, known: int = 120, unknown: int = 60) -> EvaluationInputs:
    ours, others = GENERATOR.integers(0, 4, known), GENERATOR.integers(4, 7, unknown)
    trained = np.repeat(np.arange(4), 20)
    return EvaluationInputs(
        (*CLASSES, "e", "f", "g"),
        4,
        seen(model, ours, 3) if known else None,
        seen(model, others, 4) if unknown else None,
        seen(model, trained, 5) if known else None,
    )


def test_every_protocol_gives_the_numbers_of_the_metrics(model: Recognizer) -> None:
    found = material(model)
    numbers, right = (lambda m: (m.numbers, m.right))(measure(found, tuple(PROTOCOLS)))
    test, strange = found.known, found.unknown
    chances = model.probabilities(torch.from_numpy(test.raw)).numpy()
    assert numbers["images"] == 120 and {*PROTOCOLS} <= {*numbers}
    assert numbers["closed"]["accuracy"] == metrics.accuracy(chances, test.labels) == right["closed.accuracy"].mean()
    assert numbers["closed"]["top_3"] == metrics.top_k_accuracy(chances, test.labels, 3)
    assert numbers["closed"]["macro"]["auc"] == pytest.approx(metrics.closed_set(chances, test.labels).macro.auc)
    assert numbers["closed"]["per_class"]["b"]["tp"] == int(((test.labels == 1) & test.right).sum())
    brier = metrics.brier_score(chances / chances.sum(axis=1, keepdims=True), test.labels)
    assert numbers["calibration"]["brier"] == pytest.approx(brier, abs=1e-5)
    assert numbers["calibration"]["nll"] == pytest.approx(
        metrics.negative_log_likelihood(
            model.logits(torch.from_numpy(test.raw)) / model.calibration.temperature, test.labels
        ),
        abs=1e-5,
    )
    assert numbers["calibration"]["sets"]["0.9"]["covered"] == pytest.approx(0.9, abs=0.12)
    assert numbers["retrieval"]["map_at_r"] == pytest.approx(metrics.map_at_r(test.raw, test.labels))
    pairs = metrics.pair_scores(test.raw, test.labels)
    assert numbers["verification"]["tar_at_far"]["1e-02"] == pytest.approx(metrics.tar_at_far(pairs, 1e-2).tar)
    assert math.isnan(numbers["verification"]["tar_at_far"]["1e-06"])
    assert numbers["identification"]["enrolled"] == 4 and numbers["identification"]["probes_not_enrolled"] == 60
    truth = {n: {label} for n, label in enumerate(test.labels.tolist())} | {120 + n: set() for n in range(60)}
    answers = np.concatenate([test.predictions, strange.predictions]).tolist()
    sure = np.concatenate([test.outputs.cosine, strange.outputs.cosine]).tolist()
    expected = metrics.gap({n: metrics.Named(answers[n], sure[n]) for n in truth}, truth)
    assert numbers["landmarks"]["gap"] == pytest.approx(expected) and 0 < numbers["landmarks"]["map_at_100"] <= 1
    assert numbers["open_set"]["cosine"]["auroc"] == pytest.approx(
        metrics.roc_auc(np.concatenate([test.outputs.cosine, strange.outputs.cosine]), np.arange(180) < 120)
    )
    assert numbers["unseen"]["images"] == 60
    assert numbers["unseen"]["retrieval"]["map_at_r"] == pytest.approx(metrics.map_at_r(strange.raw, strange.labels))


def test_blocks_of_rows_and_no_table_give_the_same_numbers(model: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = material(model)
    whole = measure(found, DEFAULT).numbers
    monkeypatch.setattr(measurement, "BLOCK", 4 * 7)
    monkeypatch.setattr(measurement, "TABLE_UP_TO", 10)
    raw = torch.from_numpy(found.known.raw)
    streamed = head_outputs(model, raw, found.known.labels)
    assert streamed.table is None
    for name, values in vars(found.known.outputs).items():
        if name not in ("table", "set_sizes"):
            np.testing.assert_allclose(values, getattr(streamed, name), rtol=1e-4)
    part = measure(
        EvaluationInputs(found.classes, 4, measurement.EmbeddingSet(found.known.raw, found.known.labels, streamed)),
        COMPARED,
    )
    for key in ("ece", "brier", "nll"):
        assert part.numbers["calibration"][key] == pytest.approx(whole["calibration"][key], abs=1e-5)
    assert part.numbers["calibration"]["sets"] == whole["calibration"]["sets"]
    for key in ("accuracy", "top_3", "mean_true_rank", "per_class"):
        assert part.numbers["closed"][key] == whole["closed"][key]
    assert "auc" not in part.numbers["closed"]["macro"]


def test_what_the_images_do_not_suffice_for_is_left_out(model: Recognizer) -> None:
    strangers = measure(material(model, known=0), DEFAULT).numbers
    assert {"verification", "retrieval", "identification", "clustering", "geometry"} <= strangers.keys()
    assert not {"closed", "calibration", "neighbors", "open_set", "unseen"} & strangers.keys()
    one = np.zeros(9, dtype=np.int64)
    lonely = measure(EvaluationInputs(CLASSES, 4, seen(model, one, 1)), DEFAULT).numbers
    assert not {"verification", "identification", "geometry", "open_set"} & lonely.keys()
    assert math.isnan(lonely["clustering"]["silhouette"])
    with pytest.raises(UsageError, match="no protocol 'verifiction'. Did you mean 'verification'"):
        measure(material(model), ("verifiction",))


def test_a_folder_with_unknown_classes(model: Recognizer, tmp_path) -> None:
    labels = np.repeat([1, 3, 5], 8)
    for number, (label, image) in enumerate(zip(labels, pictures(labels, 6), strict=True)):
        folder = tmp_path / "new" / "abcdefg"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{number}.png")
    found = evaluate_on(model, str(tmp_path / "new"))
    assert found.notes == ("The model does not know 1 of the classes ('f'): their 8 images count as unknown.",)
    assert found.inputs.classes == (*CLASSES, "f") and len(found.inputs.known) == 16 and len(found.inputs.unknown) == 8
    assert found.metrics.numbers["open_set"]["unknown"] == 8
    rows = list(csv.DictReader(io.StringIO(predictions_csv(found))))
    assert len(rows) == 24 and list(rows[0]) == ["id", "label", "prediction", "score"]
    assert [row["label"] for row in rows[-8:]] == ["f"] * 8 and all(0 <= float(row["score"]) <= 1 for row in rows)
    page = build_report(found).html()
    for words in ("What this means", "Every number", "Known images against unknown ones", "OSCR"):
        assert words in page
    alone = evaluate_on(model, str(tmp_path / "new"), protocols=("verification", "neighbors"))
    assert alone.metrics.numbers.keys() == {"images", "verification", "unseen"} - {"unseen"}
    assert alone.notes[-1].startswith("neighbors was not measured: it needs images of classes that the model knows")
    with pytest.raises(UsageError, match="neighbors was not measured"):
        evaluate_on(model, str(tmp_path / "new"), protocols=("neighbors",))


def test_subsets_and_known_classes_keep_names_and_labels_together() -> None:
    labels = np.array([0, 2, 1, 2])
    found = PixelSet("x", pictures(labels, 0), labels, ("p", "q", "r"), None, ("1", "2", "3", "4"))
    some = subset(found, np.array([1, 2]))
    assert some.classes == ("q", "r") and some.labels.tolist() == [1, 0] and some.names == ("2", "3")
    first = with_known_first(found, ("r", "z"))
    assert first.classes == ("r", "z", "p", "q") and first.labels.tolist() == [2, 0, 3, 0]
