"""System D's claim on real photographs of landmarks, read from index files in the layout of Google Landmarks v2.

    python benchmarks/landmarks/layout.py --data DIR --out gldv2
    python benchmarks/landmarks/run.py gldv2

Trains on each train-….csv of `layout.py`, on frozen features: by the default adaptation, and by ArcFace with one or
three centers of a class and with one margin or margins by class size. Options are chosen by GAP on the public queries
of the first seed; the private queries are asked once, of what was chosen. Results are kept one by one in result.json:
run it again to go on. At the end the tables of README.md are printed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from layout import ARRANGEMENTS, SEEDS
from numpy.typing import NDArray
from tables import print_tables
from tqdm import tqdm

from steradian.gallery import Gallery
from steradian.metrics import Named, gap
from steradian.models.recognizer import Recognizer
from steradian.training import Dataset, Recipe, TrainingData, make_plan, train
from steradian.training.features import cached
from steradian.training.recipe import read_recipe
from steradian.training.resources import environment

HERE = Path(__file__).parent
RECIPE = HERE.parents[1] / "recipes" / "landmarks.yaml"
FROZEN: dict[str, Any] = {
    "encoder": "lite0", "weights": "package", "pooling": "average", "training.freeze": "all", "views": None,
    "data.image_size": 224, "data.test": 0.0, "data.validation": 0.0, "data.calibration": 0.0,
}  # fmt: skip
"""What is changed in the recipe: the packaged encoder, frozen, so without random views; all images of the index."""

SYSTEM_D: dict[str, Any] = {
    "loss.name": "arcface", "loss.options": {"scale": 30.0, "margin": 0.5}, "training.epochs": 3,
    "training.optimizer": "sgd", "training.learning_rate": 1e-3, "training.momentum": 0.0, "training.clip": None,
    "training.weight_decay": 0.0, "training.schedule": "constant", "training.centers": "random",
    "training.center_rate": 1.0, "training.class_power": 1.0, "training.margin_ramp": None, "training.scale_ramp": None,
}  # fmt: skip
"""The system's own training, except that its embedding has no batch norm and no ReLU."""

SCALES, MARGINS = (4.0, 8.0, 45.0), (0.2, 0.5)
ARMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "arcface": ("arcface", "margin", {}),
    "arcface, 3 centers": ("subcenter-arcface", "margin", {"subcenters": 3}),
    "dynamic": ("dynamic-arcface", "m_max", {"m_min": 0.05, "subcenters": 1}),
    "dynamic, 3 centers": ("dynamic-arcface", "m_max", {"m_min": 0.05, "subcenters": 3}),
}
"""Loss, the name of its (largest) margin, and its other options."""

STRATEGIES = ("nearest", "vote", "mean", "centers")
RATES = (0.01, 0.1)
"""Shares of strangers that may be given a name."""


@dataclass(frozen=True)
class Photographs:
    """Features of all images: ``features`` [N, F] of the last stages, of which the last ``final`` are the encoder's."""

    rows: Mapping[str, int]
    features: NDArray[np.float32]
    final: int

    def vectors(self, model: Recognizer, ids: list[str]) -> torch.Tensor:
        """Return raw embeddings of the images ``ids``."""
        chosen = self.features[[self.rows[name] for name in ids]]
        return model.embed_features(torch.from_numpy(chosen[:, -model.num_features :]))


def photographs(folder: Path) -> Photographs:
    """Read everything.csv and compute the features of all images, once."""
    settings = {"data.source": str(folder / "everything.csv"), "weights": "package", "adapt": "auto", "data.test": 0.0}
    dataset = Dataset.open(Recipe().changed(**settings)).with_adaptation()
    plan = make_plan(dataset.recipe, dataset.decode())
    pixels = plan.data.pixels
    views = cached(plan.batches(np.arange(len(pixels))), plan.model, plan.data.digest).views[0]
    rows = {Path(name).stem: row for row, name in enumerate(pixels.names)}
    return Photographs(rows, np.asarray(views, dtype=np.float32), plan.model.encoder.sizes[-1])


def table(file: Path) -> tuple[list[str], list[str]]:
    """Return ids and landmarks of an index file; "" for an image without one."""
    with file.open(encoding="utf-8", newline="") as opened:
        lines = list(csv.DictReader(opened))
    return [line["id"] for line in lines], [line.get("landmark_id", line.get("landmarks", "")) for line in lines]


def numbers(answers: list[tuple[str, float]], labels: list[str], known: set[str]) -> dict[str, float]:
    """Return GAP with and without strangers, and the share of known queries that are answered right (micro F1)."""
    named = {row: Named(*answer) for row, answer in enumerate(answers)}
    truth = {row: {label} if label in known else set() for row, label in enumerate(labels)}
    right = [answers[row][0] == label for row, label in enumerate(labels) if label in known]
    return {
        "gap": gap(named, truth),
        "gap_known": gap(named, truth, ignore_without_landmark=True),
        "top1": float(np.mean(right)),
    }


def by_centers(model: Recognizer, raw: torch.Tensor) -> list[tuple[str, float]]:
    """Return the nearest class center of each embedding, and its cosine: the measure of ``--protocol landmarks``."""
    best = model.center_cosines(raw).max(dim=1)
    return [
        (model.classes[index], score) for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def measured(
    model: Recognizer, photos: Photographs, folder: Path, kind: str, seed: int, every_way: bool = True
) -> dict[str, Any]:
    """Enroll the training images, ask the private queries, and return the numbers of each way to answer."""
    ids, landmarks = table(folder / f"train-{kind}-{seed}.csv")
    queries, labels = table(folder / f"private-{seed}.csv")
    known = set(landmarks)
    vectors, asked = (torch.nn.functional.normalize(photos.vectors(model, names)).numpy() for names in (ids, queries))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        model.save(Path(scratch) / "model")
        with Gallery.open(Path(scratch) / "gallery.db", model) as gallery:
            for name in sorted(known):
                own = [row for row, landmark in enumerate(landmarks) if landmark == name]
                gallery.enroll_vectors(name, vectors[own], [ids[row] for row in own])
            for strategy in STRATEGIES if every_way else ("mean", "centers"):
                if strategy != "centers" or len(model.classes) == len(known):
                    decisions = gallery.identify_vectors(asked, threshold=-1.0, strategy=strategy, top=1)
                    answers = [(one.matches[0].label, one.matches[0].similarity) for one in decisions]
                    found[strategy] = numbers(answers, labels, known)
            found["chosen"] = gallery.comparison().strategy
            for rate in RATES if every_way else ():
                names = [one.label for one in gallery.identify_vectors(asked, strangers=rate)]
                pairs = list(zip(names, labels, strict=True))
                found[f"strangers {rate:g}"] = {
                    "named": float(np.mean([name is not None for name, label in pairs if label not in known])),
                    "right": float(np.mean([name == label for name, label in pairs if label in known])),
                }
    return found


def data_of(folder: Path, kind: str, seed: int) -> tuple[Recipe, TrainingData]:
    """Read the index file of a seed, as the recipe for landmarks does."""
    source = str(folder / f"train-{kind}-{seed}.csv")
    dataset = Dataset.open(read_recipe(RECIPE).changed(**{"data.source": source, **FROZEN}))
    return dataset.recipe, dataset.decode()


def adapted(folder: Path, kind: str, seed: int) -> Recognizer:
    """Return what ``steradian train`` makes of the index file by default."""
    settings = {"data.source": str(folder / f"train-{kind}-{seed}.csv"), "data.test": 0.0, "training.seed": seed}
    dataset = Dataset.open(Recipe().changed(**settings)).with_adaptation()
    return train(make_plan(dataset.recipe, dataset.decode())).model


def learned(recipe: Recipe, data: TrainingData, arm: str, options: Mapping[str, Any], seed: int) -> Recognizer:
    """Train an arm of `ARMS`."""
    changes = {"loss.name": ARMS[arm][0], "loss.options": dict(options), "training.seed": seed}
    return train(make_plan(recipe.changed(**changes), data)).model


def chosen_options(
    recipe: Recipe, data: TrainingData, arm: str, photos: Photographs, folder: Path
) -> tuple[dict[str, Any], float]:
    """Train an arm with each scale and margin; return the options with the highest GAP on the public queries."""
    _, margin, other = ARMS[arm]
    queries, labels = table(folder / f"public-{SEEDS[0]}.csv")
    tried: list[tuple[float, dict[str, Any]]] = []
    for scale, value in itertools.product(SCALES, MARGINS):
        options = {"scale": scale, margin: value, **other}
        model = learned(recipe, data, arm, options, SEEDS[0])
        answers = by_centers(model, photos.vectors(model, queries))
        tried.append((numbers(answers, labels, set(model.classes))["gap"], options))
    reached, options = max(tried, key=lambda one: one[0])
    return options, reached


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = HERE / "result.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text())["rows"] if results.is_file() else []
    done = {(row["kind"], row["seed"], row["arm"]) for row in rows}
    arms = ("untrained", "adapted", *ARMS, "system D")
    jobs = [(kind, seed) for seed in SEEDS for kind in ARRANGEMENTS]
    jobs = [job for job in jobs if any((*job, arm) not in done for arm in arms)]
    photos = photographs(args.folder) if jobs else None
    for kind, seed in tqdm(jobs, unit="index file"):
        assert photos is not None
        recipe, data = data_of(args.folder, kind, seed)
        for arm in arms:
            if (kind, seed, arm) in done:
                continue
            row: dict[str, Any] = {"kind": kind, "seed": seed, "arm": arm}
            if arm == "untrained":
                model = Recognizer.pretrained("lite0")
            elif arm == "adapted":
                model = adapted(args.folder, kind, seed)
            elif arm == "system D":
                model = train(make_plan(recipe.changed(**{**SYSTEM_D, "training.seed": seed}), data)).model
            else:
                if seed == SEEDS[0]:
                    row["options"], row["public_gap"] = chosen_options(recipe, data, arm, photos, args.folder)
                else:
                    row["options"] = next(one["options"] for one in rows if (one["kind"], one["arm"]) == (kind, arm))
                model = learned(recipe, data, arm, row["options"], seed)
            every_way = arm not in ARMS or arm == "arcface"
            row["private"] = measured(model, photos, args.folder, kind, seed, every_way)
            rows.append(row)
            results.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
    print_tables(rows)


if __name__ == "__main__":
    main()
