"""Compare training on a few thousand photographs with logistic regression on cached features of the same encoder.

    python benchmarks/transfer/clothing.py --data clothing_small --record benchmarks/transfer/clothing.json
    python benchmarks/transfer/clothing.py --data clothing_small --per-class 20
    python benchmarks/transfer/clothing.py --data clothing_small --tuned --seeds 1 --record tuned.json

Both sides start from the files and use the same weights at 160 px and the same training images. CPU seconds include all
threads of the process. The baseline is scikit-learn's logistic regression on features computed with unmodified timm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steradian import metrics
from steradian.studies.evaluation.inputs import embed_pixels
from steradian.training import Recipe, make_plan, train
from steradian.training.dataset import TrainingData, load_data
from steradian.training.resources import environment

RECIPE = {
    "data.image_size": 160,
    "data.calibration": 0.0,
    "encoder": "tf_efficientnet_lite0",
    "weights": "package",
    "stages": 3,
    "embedding_size": 256,
    "loss.name": "normface",
    "flip_tta": True,
    "training.freeze": "all",
    "training.cached_views": 3,
    "training.dropout": 0.3,
    "training.mixup": 1.0,
    "training.epochs": 20,
    "training.weight_decay": 5.0,
    "training.learning_rate": 2e-3,
    "training.center_rate": 1.0,
    "views.rotation": 10.0,
    "views.scale": 0.15,
    "views.flip": 0.5,
}

TUNED = {
    **RECIPE,
    "training.freeze": 3,
    "training.head_epochs": 10,
    "training.epochs": 24,
    "training.batch_size": 64,
    "training.learning_rate": 1e-3,
    "training.layer_decay": 0.75,
    "training.weight_decay": 0.05,
    "training.mixup": 0.2,
    "views.until": 1.0,
}
"""The recipe that starts like `RECIPE` and then also trains the upper layers."""


def few(prepared: TrainingData, per_class: int | None) -> TrainingData:
    """Keep only the first ``per_class`` training images of each class, in a seeded order."""
    if per_class is None:
        return prepared
    labels, pool = prepared.pixels.labels, np.random.default_rng(0).permutation(prepared.splits.train)
    rows = np.concatenate([pool[labels[pool] == label][:per_class] for label in range(len(prepared.pixels.classes))])
    return replace(prepared, splits=replace(prepared.splits, train=np.sort(rows)))


def baseline(data: str, per_class: int | None) -> dict[str, Any]:
    """Fit logistic regression on features computed once."""
    import timm
    from sklearn.linear_model import LogisticRegression

    from steradian.models.pretrained import PretrainedWeights

    prepared = few(load_data(Recipe().changed(**{**RECIPE, "data.source": data})), per_class)
    name = RECIPE["encoder"]
    encoder = timm.create_model(name, num_classes=0).eval()
    PretrainedWeights.open(str(name), "package").fill(encoder)
    splits, labels = prepared.splits, prepared.pixels.labels

    @torch.no_grad()
    def features(indices: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(indices), 64):
            pixels = torch.from_numpy(prepared.pixels.pixels[indices[start : start + 64]]).float() / 255.0
            parts.append(encoder(prepared.preprocessing.normalize(pixels)).numpy())
        return np.concatenate(parts)

    fitted = LogisticRegression(max_iter=2000).fit(features(splits.train), labels[splits.train])
    correct = fitted.predict(features(splits.test)) == labels[splits.test]
    return {"right": [correct.tolist()], "cpu_seconds": time.process_time()}


def ours(data: str, per_class: int | None, seeds: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Train with the recipe of ``settings`` from the image files, once per seed."""
    correct, history = [], []
    recipe = Recipe().changed(**{**settings, "data.source": data})
    prepared = few(load_data(recipe), per_class)
    splits, pixels = prepared.splits, prepared.pixels
    for seed in range(seeds):
        trained = train(make_plan(recipe.changed(**{"training.seed": seed}), prepared))
        trained.model.accelerate_for(len(splits.test))
        result = embed_pixels(trained.model, pixels, splits.test)
        correct.append(result.right.tolist())
        history.append(trained.history[-1]["validation_accuracy"])
    return {"right": correct, "validation": history, "cpu_seconds": time.process_time()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--tuned", action="store_true", help="also train the upper layers")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--one", choices=["baseline", "ours", "ours-once"], help="run this side in this process")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    if args.one is not None:
        if args.one == "baseline":
            result = baseline(args.data, args.per_class)
        else:
            settings = TUNED if args.tuned else RECIPE
            result = ours(args.data, args.per_class, args.seeds if args.one == "ours" else 1, settings)
        print(json.dumps(result))
        return
    sides = {}
    for side in ("baseline", "ours") if args.seeds == 1 else ("baseline", "ours-once", "ours"):
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-W", "ignore", __file__, "--data", args.data, "--one", side]
            command += ["--seeds", str(args.seeds)]
            command += ["--per-class", str(args.per_class)] if args.per_class is not None else []
            command += ["--tuned"] if args.tuned else []
            output = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "STERADIAN_CACHE": cache}
            ).stdout
        sides[side] = json.loads(output.splitlines()[-1])
    our_correct, baseline_correct = (np.array(sides[side]["right"], dtype=float) for side in ("ours", "baseline"))
    # With one seed there is no spread over seeds: the interval is over photographs alone.
    gaps = our_correct - baseline_correct
    interval = metrics.crossed_interval(gaps) if len(gaps) > 1 else metrics.t_interval(gaps[0].tolist())
    record = {
        **environment(),
        "per_class": args.per_class,
        "accuracy": {"ours": our_correct.mean(axis=1).round(4).tolist(), "baseline": float(baseline_correct.mean())},
        "validation": sides["ours"]["validation"],
        "difference": [interval.mean, interval.low, interval.high],
        "cpu_seconds": {
            name: round(sides[side]["cpu_seconds"], 1)
            for side, name in (
                ("ours-once", "ours, one training"),
                ("ours", f"ours, {args.seeds} training(s)"),
                ("baseline", "baseline"),
            )
            if side in sides
        },
        "recipe": TUNED if args.tuned else RECIPE,
    }
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
