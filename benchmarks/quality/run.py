"""The best numbers of the product on sets of its kinds, each with its cost on one thread.

    python benchmarks/quality/run.py faces --data DIR
    python benchmarks/quality/run.py aligned --data DIR
    python benchmarks/quality/run.py clothing --data DIR
    python benchmarks/quality/run.py dogs --data DIR

A part writes its result to `PART.json` beside this file. ``faces``: half of the people of LFW's development folds are
trained on, the official pairs of the other half are compared, two draws, both ways; they are cut out at a fixed place,
in ``aligned`` by the finder of faces instead. ``clothing`` and ``dogs``: the last
layers of the encoder learn above cached maps, and the official test part is named; for dogs an adaptation to the frozen
encoder, which is what `steradian train` does, names the same images.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import steradian as st
from steradian import metrics
from steradian.data import Preprocessing
from steradian.finding.finders import NothingFoundError
from steradian.studies.evaluation.inputs import embed_pixels
from steradian.training import Recipe, make_plan, train
from steradian.training.dataset import Dataset
from steradian.training.resources import environment

FACES: dict[str, Any] = {"encoder": "lite0", "data.image_size": 160, "data.test": 0.0, "flip_tta": True, "grid": 5}
CROP, BELOW = 146, 4
"""The part of a picture of 184 pixels that is taken: a square around the face, a little below the center."""

CLOTHING: dict[str, Any] = {
    "data.image_size": 160,
    "data.calibration": 0.0,
    "encoder": "lite0",
    "stages": 3,
    "embedding_size": 256,
    "loss.name": "normface",
    "flip_tta": True,
    "adapt": "train",
    "training.freeze": 4,
    "training.cached_maps": True,
    "training.cached_views": 5,
    "training.head_epochs": 10,
    "training.epochs": 22,
    "training.batch_size": 64,
    "training.learning_rate": 1e-3,
    "training.layer_decay": 0.75,
    "training.weight_decay": 0.05,
    "training.center_rate": 1.0,
    "training.dropout": 0.3,
    "training.mixup": 0.2,
    "views.rotation": 10.0,
    "views.scale": 0.15,
    "views.flip": 0.5,
    "views.until": 1.0,
}
DOGS: dict[str, Any] = {
    "data.image_size": 224,
    "data.validation": 0.0,
    "data.calibration": 0.0,
    "encoder": "lite0",
    "neck": "none",
    "embedding_size": 1280,
    "loss.name": "softmax",
    "adapt": "train",
    "training.freeze": 7,
    "training.cached_maps": True,
    "training.keep_statistics": True,
    "training.head_epochs": 30,
    "training.epochs": 34,
    "training.batch_size": 64,
    "training.learning_rate": 2e-5,
    "training.center_rate": 50.0,
    "training.auxiliary": 0.0,
    "training.margin_ramp": None,
    "training.scale_ramp": None,
}
CLOTHING_SEEDS, DOGS_SEEDS = 1, 3

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


def cut_out(archive: Path, folder: Path, whole: bool = False) -> list[str]:
    """Write the faces of the archive into ``folder``, or its ``whole`` pictures; return the people."""
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            if name.endswith(".jpg"):
                image = Image.open(io.BytesIO(content.read(name)))
                left, top = (image.width - CROP) // 2, (image.height - CROP) // 2 + BELOW
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                face = image if whole else image.crop((left, top, left + CROP, top + CROP))
                face.save(folder / name, quality=95)
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


def faces(data: Path, finder: str = "whole") -> dict[str, Any]:
    """Train on half of the people, compare the official pairs of the others.

    With a finder of faces pictures stay whole, and faces are found and aligned; else they are cut out at one place.
    """
    pairs, rows, settings = read_pairs(data / "lfw_dev_pairs.txt"), [], {**FACES, "data.finder": finder}
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        folder = Path(scratch) / "faces"
        people = cut_out(data / "lfw_dev.zip", folder, whole=finder != "whole")
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(people).tolist()
            halves = order[: len(order) // 2], order[len(order) // 2 :]
            for trained, asked in (halves, halves[::-1]):
                rows.append(_faces(folder, Path(scratch), set(trained), set(asked), pairs, settings))
                print(json.dumps(rows[-1]), flush=True)
    accuracies = [row["accuracy"] for row in rows]
    interval = metrics.t_interval(accuracies)
    return {"accuracy": interval.mean, "interval": [interval.low, interval.high], "settings": settings, "rows": rows}


def aligned(data: Path) -> dict[str, Any]:
    """Do what `faces` does with faces that are found and aligned in whole pictures."""
    return faces(data, "faces-arcface")


def _faces(
    folder: Path, scratch: Path, trained: set[str], asked: set[str], pairs: list[Pair], settings: dict[str, Any]
) -> dict[str, Any]:
    half = scratch / "half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for person in trained:
        (half / person).symlink_to(folder / person)
    began = time.process_time()
    run = st.train(half, scratch / "run", settings=settings, exist_ok=True, quiet=True)
    spent = time.process_time() - began
    chosen = [pair for pair in pairs if all(name.split("/")[0] in asked for name in pair[1:3])]
    names = sorted({name for pair in chosen for name in pair[1:3]})
    run.model.accelerate()
    shape = run.model.preprocessing
    squares = [_square(shape, np.asarray(Image.open(folder / name).convert("RGB"))) for name in names]
    vectors = dict(zip(names, run.model.embed_squares(np.stack(squares)), strict=True))
    scores = np.array([float(vectors[a] @ vectors[b]) for _, a, b, _ in chosen])
    same, folds = np.array([pair[3] for pair in chosen]), np.array([pair[0] for pair in chosen])
    return {
        "accuracy": accuracy_by_folds(scores, same, folds),
        "pairs": len(chosen),
        "cpu_minutes": spent / 60.0,
        "far": {f"{one.far:g}": float((scores[~same] > one.cosine).mean()) for one in run.model.thresholds},
        "tar": {f"{one.far:g}": float((scores[same] > one.cosine).mean()) for one in run.model.thresholds},
    }


def _square(shape: Preprocessing, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut a face out as the model does; where none is found, the middle of the picture, so that every pair counts."""
    try:
        return shape.prominent_square(pixels)
    except NothingFoundError:
        return replace(shape, finder="center").prominent_square(pixels)


@dataclass(frozen=True)
class Named:
    """Which test images a training names right, its accuracy on the validation images, and its CPU seconds."""

    right: NDArray[np.float64]
    validation: float | None
    cpu_seconds: float


def trained(source: Path, settings: dict[str, Any], seeds: int) -> list[Named]:
    """Train once with each seed. No features are cached before the first, so that their computation counts there."""
    with tempfile.TemporaryDirectory(prefix="steradian-") as cache:
        os.environ["STERADIAN_CACHE"] = cache
        return [_trained(source, settings, seed) for seed in range(seeds)]


def _trained(source: Path, settings: dict[str, Any], seed: int) -> Named:
    began = time.process_time()
    dataset = Dataset.open(Recipe().changed(**{**settings, "data.source": str(source), "training.seed": seed}))
    dataset = dataset.with_adaptation()
    data = dataset.decode()
    result = train(make_plan(dataset.recipe, data))
    spent = time.process_time() - began
    model, parts = result.model, data.splits
    model.accelerate_for(len(parts.test))
    right = embed_pixels(model, data.pixels, parts.test, result.features).right
    held = parts.validation if result.history else parts.validation[:0]
    validation = float(embed_pixels(model, data.pixels, held).right.mean()) if len(held) else None
    return Named(right.astype(np.float64), validation, spent)


def _described(runs: list[Named]) -> dict[str, Any]:
    return {
        "accuracy": [float(run.right.mean()) for run in runs],
        "validation": [run.validation for run in runs],
        "cpu_seconds": [round(run.cpu_seconds) for run in runs],
    }


def clothing(data: Path) -> dict[str, Any]:
    """Tune the last layers on photographs of clothing."""
    runs = trained(data / "clothing_small", CLOTHING, CLOTHING_SEEDS)
    return {"images": len(runs[0].right), **_described(runs), "settings": CLOTHING}


def dogs(data: Path) -> dict[str, Any]:
    """Tune the last layer on photographs of dogs, beside an adaptation to the frozen encoder."""
    frozen = trained(data / "dogs60.zip", {"encoder": "lite0"}, 1)
    tuned = trained(data / "dogs60.zip", DOGS, DOGS_SEEDS)
    gap = metrics.crossed_interval([run.right - frozen[0].right for run in tuned])
    return {
        "images": len(frozen[0].right),
        "frozen": _described(frozen),
        "tuned": _described(tuned),
        "difference": [gap.mean, gap.low, gap.high],
        "settings": DOGS,
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "faces": faces,
    "aligned": aligned,
    "clothing": clothing,
    "dogs": dogs,
}


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
