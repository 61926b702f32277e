"""Draw the pictures of the tutorials from real data:

    python docs/pictures/tutorials.py clothing_small omniglot_background_28.npz

`views.png`: photographs beside their progressive views; `unseen.png`: alphabets that the built-in model never saw.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from steradian import Recognizer, metrics
from steradian.plots import EmbeddingDisplay, RocDisplay
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


if __name__ == "__main__":
    views(sys.argv[1])
    unseen(sys.argv[2])
