"""The best numbers of the product on sets of its kinds, each with its cost on one thread.

    python benchmarks/quality/run.py faces --data DIR

A part writes its result to `PART.json` beside this file. ``faces``: half of the people of LFW's development folds are
trained on, the official pairs of the other half are compared, two draws, both ways.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import steradian as st
from steradian import metrics
from steradian.training.resources import environment

FACES: dict[str, Any] = {"encoder": "lite0", "data.image_size": 160, "data.test": 0.0, "flip_tta": True, "grid": 5}
CROP, BELOW = 146, 4
"""The part of a picture of 184 pixels that is taken: a square around the face, a little below the center."""

FOLDS, FOLD_PAIRS = 5, 600
DRAWS = 2

Pair = tuple[int, str, str, bool]
"""Fold, two file names, and whether both show one person."""


def read_pairs(path: Path) -> list[Pair]:
    """Read LFW's list: after a line with the numbers, NAME N M for one person and NAME N OTHER M for two."""
    pairs: list[Pair] = []
    for number, line in enumerate(path.read_text().splitlines()[1:]):
        cells = line.split("\t")
        first, second = (cells[0], cells[1]), (cells[0], cells[2]) if len(cells) == 3 else (cells[2], cells[3])
        names = [f"{person}/{person}_{int(image):04d}.jpg" for person, image in (first, second)]
        pairs.append((number // FOLD_PAIRS, names[0], names[1], len(cells) == 3))
    return pairs


def cut_out(archive: Path, folder: Path) -> list[str]:
    """Write the faces of the archive into ``folder``; return the people."""
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            if name.endswith(".jpg"):
                image = Image.open(io.BytesIO(content.read(name)))
                left, top = (image.width - CROP) // 2, (image.height - CROP) // 2 + BELOW
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                image.crop((left, top, left + CROP, top + CROP)).save(folder / name, quality=95)
    return sorted(path.name for path in folder.iterdir())


def balanced(scores: NDArray[np.float64], same: NDArray[np.bool_], threshold: float) -> float:
    """Return the mean of the shares of pairs of one person above and of two people at or below a threshold."""
    return float(((scores[same] > threshold).mean() + (scores[~same] <= threshold).mean()) / 2.0)


def accuracy_by_folds(scores: NDArray[np.float64], same: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """Return the mean accuracy over folds, each with the threshold that is best on the others (the official rule)."""
    found = []
    for fold in range(FOLDS):
        others = folds != fold
        best = max(np.unique(scores[others]), key=lambda one: balanced(scores[others], same[others], float(one)))
        found.append(balanced(scores[~others], same[~others], float(best)))
    return float(np.mean(found))


def faces(data: Path) -> dict[str, Any]:
    """Train on half of the people, compare the official pairs of the others."""
    pairs, rows = read_pairs(data / "lfw_dev_pairs.txt"), []
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        folder = Path(scratch) / "faces"
        people = cut_out(data / "lfw_dev.zip", folder)
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(people).tolist()
            halves = order[: len(order) // 2], order[len(order) // 2 :]
            for trained, asked in (halves, halves[::-1]):
                rows.append(_faces(folder, Path(scratch), set(trained), set(asked), pairs))
                print(json.dumps(rows[-1]), flush=True)
    accuracies = [row["accuracy"] for row in rows]
    interval = metrics.t_interval(accuracies)
    return {"accuracy": interval.mean, "interval": [interval.low, interval.high], "settings": FACES, "rows": rows}


def _faces(folder: Path, scratch: Path, trained: set[str], asked: set[str], pairs: list[Pair]) -> dict[str, Any]:
    half = scratch / "half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for person in trained:
        (half / person).symlink_to(folder / person)
    began = time.process_time()
    run = st.train(half, scratch / "run", settings=FACES, exist_ok=True, quiet=True)
    spent = time.process_time() - began
    chosen = [pair for pair in pairs if all(name.split("/")[0] in asked for name in pair[1:3])]
    names = sorted({name for pair in chosen for name in pair[1:3]})
    run.model.accelerate()
    vectors = dict(zip(names, run.model.embed([folder / name for name in names]), strict=True))
    scores = np.array([float(vectors[a] @ vectors[b]) for _, a, b, _ in chosen])
    same, folds = np.array([pair[3] for pair in chosen]), np.array([pair[0] for pair in chosen])
    return {
        "accuracy": accuracy_by_folds(scores, same, folds),
        "pairs": len(chosen),
        "cpu_minutes": spent / 60.0,
        "far": {f"{one.far:g}": float((scores[~same] > one.cosine).mean()) for one in run.model.thresholds},
        "tar": {f"{one.far:g}": float((scores[same] > one.cosine).mean()) for one in run.model.thresholds},
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {"faces": faces}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", required=True, type=Path, help="folder with the sets that DATA lists")
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = {**environment(), **PARTS[args.part](args.data)}
    Path(__file__).with_name(f"{args.part}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
