"""What a query is compared with, and how its threshold is set: python benchmarks/promises/comparisons.py --data DIR

Half of the classes of each set are enrolled, with 5 or 15 images each, and at most ten others of each are asked; of the
other half at most ten each are strangers. The features are those of the built-in model `general`, fitted to none of
them. Results go to comparisons.json; README.md explains them.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sets import FILES, FeatureSet, load

from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import highest_of_each, relative_scores
from steradian.gallery.strategy import choose_comparison
from steradian.metrics.checks import unit
from steradian.training.resources import environment

SETS = ("lfw", "dogs60", "gtsrb", "monuments")
ASKED = 10

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def best_of_each(queries: Floats, vectors: Floats, owners: Integers) -> Floats:
    """Return the highest cosine of each query to each owner, [Q, C], by ascending owner."""
    order = np.argsort(owners, kind="stable")
    return highest_of_each(queries, vectors[order], owners[order])


def expanded(queries: Floats, vectors: Floats, count: int = 3, power: float = 3.0) -> Floats:
    """Alpha query expansion (Radenovic et al. 2018): add the nearest images, weighted by their cosine to a power."""
    cosines = queries @ vectors.T
    nearest = np.argsort(-cosines, axis=1)[:, :count]
    weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0.0) ** power
    return unit(queries + np.einsum("qk,qkd->qd", weights, vectors[nearest])).astype(np.float32)


def reciprocal(queries: Floats, vectors: Floats, count: int = 10, share: float = 0.3) -> Floats:
    """Return similarities [Q, N] re-ranked by k-reciprocal neighbors (Zhong et al. 2017), each query alone.

    Formula: share * cosine + (1 - share) * Jaccard index of the neighbors that are mutual, weighted by exp(cosine - 1).
    """
    among, asked = vectors @ vectors.T, queries @ vectors.T
    np.fill_diagonal(among, 1.0)
    last = np.partition(-among, min(count, len(vectors) - 1), axis=1)[:, min(count, len(vectors) - 1)] * -1.0
    mutual = np.where((among >= last[:, None]) & (among >= last[None, :]), np.exp(among - 1.0), 0.0)
    limit = -np.partition(-asked, min(count, len(vectors)) - 1, axis=1)[:, min(count, len(vectors)) - 1]
    own = np.where((asked >= limit[:, None]) & (asked >= last[None, :]), np.exp(asked - 1.0), 0.0)
    index = np.empty_like(asked)
    for row, one in enumerate(own):
        shared = np.minimum(one, mutual).sum(axis=1)
        index[row] = shared / np.maximum(one.sum() + mutual.sum(axis=1) - shared, 1e-9)
    return share * asked + (1.0 - share) * index


def answers(right: NDArray[np.bool_], known: Floats, strangers: Floats) -> dict[str, float]:
    """Return the share that is right, GAP with strangers, and the share named right where 10 and 1 % of strangers are.

    GAP (Perronnin et al. 2009): precision at each right answer among all answers by confidence, over all known queries.
    """
    confidence = np.concatenate([known, strangers])
    ordered = np.concatenate([right, np.zeros(len(strangers), bool)])[np.argsort(-confidence, kind="stable")]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    named = {f"named at {rate:g}": (right & (known > np.quantile(strangers, 1 - rate))).mean() for rate in (0.1, 0.01)}
    return {"right": right.mean(), "gap": (precision * ordered).sum() / len(right), **named}


def draw(data: FeatureSet, vectors: Floats, images: int, seed: int) -> dict[str, dict[str, float]]:
    generator = np.random.default_rng(seed)
    counts = np.bincount(data.labels)
    classes = generator.permutation(np.flatnonzero(counts >= 2))
    gallery: list[int] = []
    known: list[int] = []
    for label in classes[: len(classes) // 2]:
        rows = generator.permutation(np.flatnonzero(data.labels == label))
        kept = min(images, len(rows) - 1)
        gallery, known = [*gallery, *rows[:kept]], [*known, *rows[kept : kept + ASKED]]
    others = np.setdiff1d(np.unique(data.labels), classes[: len(classes) // 2])
    asked = np.concatenate([generator.permutation(np.flatnonzero(data.labels == one))[:ASKED] for one in others])
    snapshot = Snapshot(np.arange(len(gallery)), data.labels[gallery], vectors[gallery], {})
    owners = snapshot.identities
    queries = vectors[np.concatenate([known, asked])]
    numbers = np.unique(owners)
    order = np.argsort(owners, kind="stable")
    starts = np.flatnonzero(np.diff(owners[order], prepend=-1))
    mutual = np.maximum.reduceat(reciprocal(queries, snapshot.vectors)[:, order], starts, axis=1)
    scored = {
        "nearest": best_of_each(queries, snapshot.vectors, owners),
        "mean": best_of_each(queries, *snapshot.means),
        "blended": best_of_each(queries, snapshot.blended, owners),
        "nearest, expanded query": best_of_each(expanded(queries, snapshot.vectors), snapshot.vectors, owners),
        "nearest, k-reciprocal": mutual,
    }
    found: dict[str, dict[str, float]] = {}
    for name, scores in scored.items():
        right = numbers[scores[: len(known)].argmax(axis=1)] == data.labels[known]
        relative = relative_scores(-np.sort(-scores, axis=1))
        for kind, confidence in (("", scores.max(axis=1)), (", relative", relative)):
            found[name + kind] = answers(right, confidence[: len(known)], confidence[len(known) :])
    chosen = choose_comparison(snapshot)
    found["chosen by the gallery"] = found[chosen.strategy + ", relative" * chosen.relative]
    return found


def interval(values: list[float]) -> list[float]:
    """Mean and the ends of its 95 % interval over draws (Student's t)."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = error * float(student.ppf(0.975, len(values) - 1))
    return [round(one, 4) for one in (mean, mean - half, mean + half)]


def summary(drawn: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Return the mean of each number over draws, and what it gains on the nearest image, with its interval."""
    found: dict[str, dict[str, Any]] = {}
    for way, numbers in drawn[0].items():
        found[way] = {}
        for key in numbers:
            gains = [one[way][key] - one["nearest"][key] for one in drawn]
            mean = float(np.mean([one[way][key] for one in drawn]))
            found[way][key] = {"mean": round(mean, 4), "gain": interval(gains)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets of sets.FILES")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    record: dict[str, Any] = {**environment(), "date": str(date.today()), "draws": args.draws, "sets": {}}
    for name in SETS:
        data = load(name, args.data)
        vectors = unit(data.final).astype(np.float32)
        for images in (5, 15):
            drawn = [draw(data, vectors, images, seed) for seed in range(args.draws)]
            rows = summary(drawn)
            record["sets"][f"{name}, {images} images"] = rows
            print(f"{name}, {images} images of each (difference from the nearest image)")
            for way, values in rows.items():
                shown = "  ".join(f"{key} {one['mean']:.3f} ({one['gain'][0]:+.3f})" for key, one in values.items())
                print(f"  {way:34} {shown}", flush=True)
    record["files"] = {name: FILES[name] for name in SETS}
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
