"""Digits that the models of symbols have never seen: one-shot recognition among ten, and verification over all pairs.

    python benchmarks/omniglot/digits.py --mnist mnist_first10k_train.npz --model glyphs --model runs/glyphs

3,000 of MNIST's first 10,000 training digits (28 pixels, seed 1), and the 1,797 of scikit-learn (8 pixels, enlarged to
20 of 28), both as dark strokes on white. One-shot: 4,000 trials of one drawing of each digit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from run import one_shot
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from steradian import Recognizer, metrics
from steradian.training.resources import environment

IMAGES, TRIALS = 3000, 4000
DIGITS = np.full(10, "digits")
"""Their one alphabet."""
FARS = (1e-1, 1e-2, 1e-3)


def mnist(path: Path) -> tuple[Tensor, NDArray[np.int64]]:
    """Return uint8 [IMAGES, 1, 28, 28] of MNIST, and its labels."""
    with np.load(path, allow_pickle=False) as content:
        pixels, labels = content["x"], content["y"].astype(np.int64)
    rows = np.random.default_rng(1).permutation(len(pixels))[:IMAGES]
    return torch.from_numpy(255 - pixels[rows])[:, None], labels[rows]


def enlarged() -> tuple[Tensor, NDArray[np.int64]]:
    """Return uint8 [1797, 1, 28, 28] of scikit-learn's digits, and their labels."""
    digits = load_digits()
    pages = torch.from_numpy(255.0 - 255.0 * digits.images / 16.0)[:, None]
    pages = functional.interpolate(pages, size=(20, 20), mode="bicubic").clamp(0.0, 255.0)
    return functional.pad(pages, (4, 4, 4, 4), value=255.0).round().to(torch.uint8), digits.target.astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", required=True, type=Path)
    parser.add_argument("--model", action="append", required=True, help="run or model folder, or glyphs; repeatable")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "digits.json")
    args = parser.parse_args()
    sets = {"mnist": mnist(args.mnist), "scikit-learn": enlarged()}
    found = {}
    for name in args.model:
        model = Recognizer.load(name)
        for kind, (pixels, labels) in sets.items():
            vectors = model.embed(pixels)
            pairs = metrics.verify_all_pairs(vectors, labels, FARS).accepted
            right = one_shot(vectors, labels, DIGITS, within=False, ways=len(DIGITS), trials=TRIALS)
            row = {"one-shot": right, **{f"TAR at {pair.far}": round(pair.tar, 4) for pair in pairs}}
            found[f"{name}, {kind}"] = row
            print(name, kind, row, flush=True)
    args.out.write_text(json.dumps({**environment(), "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
