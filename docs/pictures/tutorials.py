"""Draw the pictures of the tutorials from real data:

    python docs/pictures/tutorials.py clothing_small omniglot_background_28.npz

`views.png`: photographs beside their progressive views; `unseen.png`: alphabets that the built-in model never saw;
`asked.png`: the same by enrolled drawings, among questions that show nothing enrolled; `measured.png`: a linear
classifier of scikit-learn on its handwritten digits.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from steradian import Recognizer, metrics
from steradian.gallery import Gallery
from steradian.gallery.store import Store
from steradian.plots import ConfusionDisplay, EmbeddingDisplay, PrecisionRecallDisplay, ReliabilityDisplay, RocDisplay
from steradian.plots.theme import LIGHT, small_multiples

HERE = Path(__file__).parent


def views(photographs: str) -> None:
    words = [sys.executable, "-m", "steradian", "data", photographs, "--views", str(HERE / "views.png")]
    subprocess.run(words, check=True)


def unseen(drawings: str) -> None:
    content = np.load(drawings)
    names = np.array([name.partition("/")[0] for name in content["names"]])
    own = np.isin(names[content["y"]], np.unique(names)[-6:])
    pixels, labels = content["x"][own], content["y"][own]
    vectors = Recognizer.load("glyphs").embed(torch.from_numpy(pixels)[:, None]).numpy()
    scores = metrics.pair_scores(vectors, labels)
    pairs = np.concatenate([scores.genuine, scores.impostor])
    curve = metrics.ScoreCounts.of(pairs, np.arange(len(pairs)) < len(scores.genuine)).roc()
    roc = RocDisplay.from_rates({"alphabets never seen": (curve.false_positive_rate, curve.true_positive_rate)})
    shown = np.unique(labels)[:10]
    few = np.isin(labels, shown)
    _, _, directions = np.linalg.svd(vectors[few], full_matrices=False)
    flat = vectors[few] @ directions[:2].T
    characters = [f"character {place + 1}" for place in range(len(shown))]
    points = EmbeddingDisplay.from_embeddings(flat, np.searchsorted(shown, labels[few]), characters)
    panels = {"Ten characters, two principal directions": points.plot, "Pairs: DET": roc.plot_det}
    picture = small_multiples(panels, "", columns=2, width=4.6, height=3.8)
    (HERE / "unseen.png").write_bytes(getattr(picture, LIGHT.name))


def asked(drawings: str) -> None:
    """Half of the characters are enrolled by ten drawings each; the other half is asked about, too."""
    content = np.load(drawings)
    names = np.array([name.partition("/")[0] for name in content["names"]])
    own = np.isin(names[content["y"]], np.unique(names)[-6:])
    labels = content["y"][own]
    vectors = Recognizer.load("glyphs").embed(torch.from_numpy(content["x"][own])[:, None]).numpy()
    half, enrolled = np.unique(labels)[::2], np.zeros(len(labels), dtype=bool)
    for label in half:
        enrolled[np.flatnonzero(labels == label)[:10]] = True
    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "g.db", "glyphs", vectors.shape[1])
        with Gallery(store, None) as gallery:
            people = [vectors[enrolled & (labels == label)] for label in half]
            store.add_many(
                [(str(label), rows, [""] * len(rows), None) for label, rows in zip(half, people, strict=True)]
            )
            for strategy in ("nearest", "vote", "mean"):
                answers = gallery.identify_vectors(vectors[~enrolled], threshold=-1.0, strategy=strategy)
                sure = np.array([answer.matches[0].similarity for answer in answers])
                right = np.array([answer.matches[0].label for answer in answers]) == labels[~enrolled].astype(str)
                rising = np.cumsum(right[np.argsort(-sure)])
                known = np.isin(labels[~enrolled], half).sum()
                gap = float((right[np.argsort(-sure)] * rising / np.arange(1, len(right) + 1)).sum() / known)
                curves[f"{strategy}, GAP {gap:.3f}"] = rising / known, rising / np.arange(1, len(right) + 1)
    panel = {"Answers from the surest on": PrecisionRecallDisplay.from_rates(curves).plot}
    picture = small_multiples(panel, "", columns=1, width=6.0, height=4.2)
    (HERE / "asked.png").write_bytes(getattr(picture, LIGHT.name))


def measured() -> None:
    digits = load_digits()
    train, test, known, truth = train_test_split(digits.data, digits.target, test_size=0.5, random_state=0)
    chances = LogisticRegression(C=0.01, max_iter=2000).fit(train, known).predict_proba(test)
    answers = chances.argmax(axis=1)
    panels = {
        "Rows are true, columns answered": ConfusionDisplay.from_predictions(truth, answers, list("0123456789")).plot,
        "Does 90 % mean 90 %?": ReliabilityDisplay.from_bins(
            *metrics.reliability(chances.max(axis=1), answers == truth)
        ).plot,
    }
    picture = small_multiples(panels, "", columns=2, width=4.6, height=4.0)
    (HERE / "measured.png").write_bytes(getattr(picture, LIGHT.name))


if __name__ == "__main__":
    views(sys.argv[1])
    unseen(sys.argv[2])
    asked(sys.argv[2])
    measured()
