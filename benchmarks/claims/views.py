"""System A's views in sequence: 1, 2, 4 and 6 views of each image in a batch, with and without the consistency term.

    python benchmarks/claims/views.py --data DIR

Signs (frames of one track stay together) and monuments at 32 pixels, the small encoder from nothing, softmax, five
seeds with their own division. All arms have the same epochs and learning rate; one has a single view and four times the
epochs, which is what four views cost. Results are kept one by one in views.json: run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import SEEDS
from tqdm import tqdm

from steradian.training import Recipe, load_data, make_plan, train

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "promises"))

import sets  # noqa: E402 - of the benchmark beside this one

SETS = ("gtsrb", "monuments")
EPOCHS, LONGER = 30, 4
SETTINGS: dict[str, Any] = {
    "encoder": "small", "adapt": "train", "embedding_size": 32, "loss.name": "softmax", "data.image_size": 32,
    "data.calibration": 0.0, "data.validation": 0.0, "training.batch_size": 64, "training.margin_ramp": None,
}  # fmt: skip
ARMS: dict[str, dict[str, Any]] = {
    "1 view": {"training.epochs": EPOCHS},
    "1 view, 4 times the epochs": {"training.epochs": LONGER * EPOCHS},
    **{
        f"{count} views{', consistency' if weight else ''}": {
            "training.epochs": EPOCHS,
            "progressive.views": count,
            "progressive.weight": weight,
        }
        for count in (2, 4, 6)
        for weight in (0.0, 1.0)
    },
}


def accuracy(name: str, folder: Path, settings: dict[str, Any], seed: int) -> float:
    """Train one arm on one division, and return the share of its test images that are named right."""
    changes = {**SETTINGS, **settings, "data.split_seed": seed, "training.seed": seed}
    if name in sets.GROUPED:
        changes["data.group_by"] = sets.GROUPED[name]
    recipe = Recipe().changed(**{"data.source": str(folder / sets.FILES[name]), **changes})
    data = load_data(recipe)
    model = train(make_plan(recipe, data)).model
    test = data.splits.test
    raw = model.raw_embeddings(torch.from_numpy(np.ascontiguousarray(data.pixels.pixels[test])))
    return float((model.logits(raw).argmax(dim=1).numpy() == data.pixels.labels[test]).mean())


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = HERE / "views.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.is_file() else []
    done = {(row["set"], row["arm"], row["seed"]) for row in rows}
    jobs = [(name, arm, seed) for seed in SEEDS for name in SETS for arm in ARMS]
    for name, arm, seed in tqdm([job for job in jobs if job not in done], unit="training"):
        top1 = accuracy(name, args.data, ARMS[arm], seed)
        rows.append({"set": name, "few": None, "arm": arm, "seed": seed, "top1": top1})
        results.write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
