"""Draw the pictures of the tutorials from real data:

    python docs/pictures/tutorials.py clothing_small omniglot_background_28.npz runs/glyphs

The last is a run of `recipes/glyphs.yaml`, which leaves six alphabets out; the built-in model has seen all.
`views.png` shows photographs beside their progressive views; `unseen.png`, alphabets that the run never saw;
`asked.png`, the identification of such characters from enrolled drawings, with queries that match nothing enrolled;
`parts.png`, which parts of drawings of such characters are alike;
`measured.png`, a linear classifier of scikit-learn on its handwritten digits.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from steradian import Recognizer, metrics
from steradian.gallery import Gallery
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.gallery.explaining import explain
from steradian.plots import (
    ConfusionDisplay,
    EmbeddingDisplay,
    EvidenceDisplay,
    PrecisionRecallDisplay,
    ReliabilityDisplay,
    RocDisplay,
)
from steradian.plots.theme import LIGHT, small_multiples

HERE = Path(__file__).parent


def views(photographs: str) -> None:
    command = [sys.executable, "-m", "steradian", "data", photographs, "--views", str(HERE / "views.png")]
    subprocess.run(command, check=True)


def unseen(drawings: str, run: str) -> None:
    content = np.load(drawings)
    names = np.array([name.partition("/")[0] for name in content["names"]])
    selected = np.isin(names[content["y"]], np.unique(names)[-6:])
    pixels, labels = content["x"][selected], content["y"][selected]
    vectors = Recognizer.load(run).embed(torch.from_numpy(pixels)[:, None])
    scores = metrics.pair_scores(vectors, labels)
    pairs = np.concatenate([scores.genuine, scores.impostor])
    curve = metrics.ScoreCounts.of(pairs, np.arange(len(pairs)) < len(scores.genuine)).roc()
    roc = RocDisplay.from_rates({"unseen alphabets": (curve.false_positive_rate, curve.true_positive_rate)})
    shown = np.unique(labels)[:10]
    plotted = np.isin(labels, shown)
    _, _, directions = np.linalg.svd(vectors[plotted], full_matrices=False)
    flat = vectors[plotted] @ directions[:2].T
    characters = [f"character {index + 1}" for index in range(len(shown))]
    points = EmbeddingDisplay.from_embeddings(flat, np.searchsorted(shown, labels[plotted]), characters)
    panels = {"Ten characters, two principal directions": points.plot, "Pairs: DET": roc.plot_det}
    picture = small_multiples(panels, "", columns=2, width=4.6, height=3.8)
    (HERE / "unseen.png").write_bytes(getattr(picture, LIGHT.name))


def parts(drawings: str, run: str) -> None:
    """Enroll two drawings of each of ten characters, and explain one answer a row for other drawings."""
    content = np.load(drawings)
    rows, captions = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.open(Path(folder) / "g.db", Recognizer.load(run)) as gallery,
    ):
        for character in range(900, 910):
            drawn = content["x"][content["y"] == character]
            files = [Path(folder) / f"{character}-{number}.png" for number in range(2)]
            for file, pixels in zip(files, drawn, strict=False):
                Image.fromarray(pixels).save(file)
            gallery.enroll(f"character {character - 899}", files)
        for character in (902, 903, 905):
            picture = content["x"][content["y"] == character][10]
            match = gallery.identify([picture], threshold=0.5)[0].matches[0]
            found = explain(gallery, picture, match)
            rows.append([one for one in (found.asked, found.enrolled) if one is not None])
            captions.append(f"{match.label} ({found.cosine:.2f})")
    picture_of_all = EvidenceDisplay.from_pictures(rows, captions).plot()
    picture_of_all.figure_.figure.savefig(HERE / "parts.png", dpi=70)


def asked(drawings: str, run: str) -> None:
    """Enroll half of the characters with ten drawings each; query the other drawings of both halves."""
    content = np.load(drawings)
    names = np.array([name.partition("/")[0] for name in content["names"]])
    selected = np.isin(names[content["y"]], np.unique(names)[-6:])
    labels = content["y"][selected]
    vectors = Recognizer.load(run).embed(torch.from_numpy(content["x"][selected])[:, None])
    half, enrolled = np.unique(labels)[::2], np.zeros(len(labels), dtype=bool)
    for label in half:
        enrolled[np.flatnonzero(labels == label)[:10]] = True
    curves = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery(SqliteBackend(Path(folder) / "g.db", "glyphs", vectors.shape[1])) as gallery,
    ):
        vectors_by_label = [vectors[enrolled & (labels == label)] for label in half]
        gallery.register.add_many(
            [(str(label), rows, [""] * len(rows), None) for label, rows in zip(half, vectors_by_label, strict=True)]
        )
        for strategy in ("nearest", "vote", "mean"):
            answers = gallery.identify_vectors(vectors[~enrolled], threshold=-1.0, strategy=strategy)
            similarity = np.array([answer.matches[0].similarity for answer in answers])
            correct = np.array([answer.matches[0].label for answer in answers]) == labels[~enrolled].astype(str)
            hits = np.cumsum(correct[np.argsort(-similarity)])
            total = np.isin(labels[~enrolled], half).sum()
            gap = float((correct[np.argsort(-similarity)] * hits / np.arange(1, len(correct) + 1)).sum() / total)
            curves[f"{strategy}, GAP {gap:.3f}"] = hits / total, hits / np.arange(1, len(correct) + 1)
    panel = {"Matches in order of decreasing similarity": PrecisionRecallDisplay.from_rates(curves).plot}
    picture = small_multiples(panel, "", columns=1, width=6.0, height=4.2)
    (HERE / "asked.png").write_bytes(getattr(picture, LIGHT.name))


def measured() -> None:
    digits = load_digits()
    train, test, train_labels, test_labels = train_test_split(digits.data, digits.target, test_size=0.5, random_state=0)
    probabilities = LogisticRegression(C=0.01, max_iter=2000).fit(train, train_labels).predict_proba(test)
    predictions = probabilities.argmax(axis=1)
    panels = {
        "Rows: true, columns: predicted": ConfusionDisplay.from_predictions(
            test_labels, predictions, list("0123456789")
        ).plot,
        "Does 90 % mean 90 %?": ReliabilityDisplay.from_bins(
            *metrics.reliability(probabilities.max(axis=1), predictions == test_labels)
        ).plot,
    }
    picture = small_multiples(panels, "", columns=2, width=4.6, height=4.0)
    (HERE / "measured.png").write_bytes(getattr(picture, LIGHT.name))


if __name__ == "__main__":
    views(sys.argv[1])
    unseen(sys.argv[2], sys.argv[3])
    asked(sys.argv[2], sys.argv[3])
    parts(sys.argv[2], sys.argv[3])
    measured()
