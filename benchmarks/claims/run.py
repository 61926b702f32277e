"""The claims ledger: which claims of the five systems hold on real photographs.

    python benchmarks/claims/run.py --data DIR

DIR holds dogs60.zip, lfw_dev.zip and monuments49.zip. Features of the pretrained encoder, frozen; heads trained by each
loss with the same budget, options chosen alike on a validation part, five seeds with their own division of images and
classes. Results are kept one by one in heads.json: run it again to go on. At the end docs/claims.md is written.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import ARMS, FEW, SEEDS, SETS
from heads import new_people, split, trained
from ledger import page
from tqdm import tqdm

import steradian
from steradian.files import sha256_of

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "promises"))

import sets  # noqa: E402 - of the benchmark beside this one

MOST_PEOPLE_IMAGES, FEWEST_IMAGES = 40, 10
"""Images of a class: of the faces, a few people have hundreds, and most have too few to divide."""


def enough(labels: np.ndarray) -> np.ndarray:
    """Return the rows of the classes with enough images, and no more than `MOST_PEOPLE_IMAGES` of each."""
    counts = np.bincount(labels)
    generator = np.random.default_rng(0)
    rows = [
        np.sort(generator.permutation(np.flatnonzero(labels == label))[:MOST_PEOPLE_IMAGES])
        for label in np.flatnonzero(counts >= FEWEST_IMAGES)
    ]
    return np.concatenate(rows)


def photographs(name: str, folder: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels of a set, of classes with enough images, and no more than that many of each."""
    file = cache / f"{name}.npz"
    if not file.is_file():
        loaded = sets.load(name, folder)
        np.savez(file, features=loaded.final, labels=loaded.labels)
    found = np.load(file)
    features, labels = found["features"], found["labels"]
    chosen = enough(labels)
    return features[chosen], labels[chosen]


def cell(place: Path, name: str, few: int | None, arm_name: str) -> list[dict[str, Any]]:
    """Train one arm with all seeds on one set; an arm that fails is told."""
    torch.set_num_threads(1)
    arm = next(one for one in ARMS if one.name == arm_name)
    found = np.load(place)
    features, labels = found["features"], found["labels"]
    rows = []
    try:
        first = split(features, labels, 0, few)
        tried = [trained(arm.loss, options, first, 0)[1] for options in arm.tries]
        options = arm.tries[int(np.argmax(tried))]
        for seed in SEEDS:
            numbers, _ = trained(arm.loss, options, split(features, labels, seed, few), seed)
            rows.append({"set": name, "few": few, "arm": arm_name, "seed": seed, "options": options, **numbers})
    except Exception as error:  # noqa: BLE001 - an arm that fails to train is a result
        rows.append(
            {"set": name, "few": few, "arm": arm_name, "seed": None, "failed": f"{type(error).__name__}: {error}"}
        )
    return rows


def origin(folder: Path) -> str:
    """Return when and with what the numbers were made."""
    files = {name: folder / sets.FILES[name] for name in SETS}
    hashes = ", ".join(f"{path.name} {sha256_of(path.read_bytes())[:16]}" for path in files.values())
    versions = f"steradian {steradian.__version__}, torch {torch.__version__}"
    return f"{datetime.date.today().isoformat()}, {versions}; SHA-256 of the data: {hashes}."


def newcomers(place: Path, name: str) -> list[dict[str, Any]]:
    """Add classes that nothing was trained on, in both ways, with all seeds."""
    torch.set_num_threads(1)
    found = np.load(place)
    return [
        {"set": name, "few": None, "arm": way, "seed": seed, **numbers}
        for seed in SEEDS
        for way, numbers in new_people(found["features"], found["labels"], seed).items()
    ]


def main() -> None:
    """Train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/claims"))
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    results = HERE / "heads.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.is_file() else []
    done = {(row["set"], row["few"], row["arm"]) for row in rows}
    places = {}
    for name in SETS:
        features, labels = photographs(name, args.data, args.cache)
        places[name] = args.cache / f"{name}-chosen.npz"
        np.savez(places[name], features=features, labels=labels)
    jobs = [(name, few, arm.name) for name in SETS for few in FEW for arm in ARMS]
    jobs = [job for job in jobs if job not in done]
    # A forked process would inherit torch's threads as locks that nobody opens.
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(cell, places[name], name, few, arm) for name, few, arm in jobs]
        futures += [pool.submit(newcomers, places[name], name) for name in SETS if (name, None, "enrolled") not in done]
        for future in tqdm(futures, unit="arm"):
            rows += future.result()
            results.write_text(json.dumps(rows, indent=0) + "\n")
    for other in (HERE / "views.json", HERE / "tuned.json"):
        rows += json.loads(other.read_text()) if other.is_file() else []
    (HERE.parents[1] / "docs" / "claims.md").write_text(page(rows, origin(args.data)), encoding="utf-8")


if __name__ == "__main__":
    main()
