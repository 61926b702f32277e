"""Enroll without retraining: one-shot recognition among 20 characters of unseen alphabets.

    python benchmarks/omniglot/run.py --data omniglot_background_28.npz --out runs/glyphs
    python benchmarks/omniglot/run.py --data omniglot_background_28.npz --model glyphs

Trains `recipes/glyphs.yaml`, or another recipe (or takes a model), then measures on the last six alphabets by name:
20-way one-shot across alphabets and within one (2,000 trials each), and verification over all pairs of their drawings.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from steradian import Recognizer, metrics
from steradian.studies.single_run import train
from steradian.training import read_recipe
from steradian.training.resources import environment

WAYS, TRIALS, UNSEEN = 20, 2000, 6
RECIPE = Path(__file__).parents[2] / "recipes" / "glyphs.yaml"


def one_shot(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    alphabet: NDArray[np.str_],
    within: bool,
    seed: int = 0,
    ways: int = WAYS,
    trials: int = TRIALS,
) -> float:
    """Return the fraction of trials in which the drawing of the same character is the nearest of ``ways`` drawings."""
    generator = np.random.default_rng(seed)
    drawings = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    characters = np.array(list(drawings))
    alphabets = [name for name in sorted(set(alphabet[characters])) if (alphabet[characters] == name).sum() >= ways]
    correct = 0
    for _ in range(trials):
        pool = characters
        if within:
            pool = characters[alphabet[characters] == alphabets[generator.integers(len(alphabets))]]
        chosen = generator.permutation(pool)[:ways]
        query, match = generator.permutation(drawings[chosen[0]])[:2]
        others = [generator.choice(drawings[character]) for character in chosen[1:]]
        correct += int(np.argmax(vectors[[match, *others]] @ vectors[query]) == 0)
    return correct / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", type=Path, help="run folder; trains the recipe")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--model", help="run or model folder, or glyphs; skips training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    record = {**environment(), "seed": args.seed}
    if args.model is None:
        recipe = read_recipe(args.recipe).changed(**{"data.source": str(args.data), "training.seed": args.seed})
        started = time.perf_counter()
        train(recipe, args.out)
        used = resource.getrusage(resource.RUSAGE_SELF)
        record |= {"minutes": (time.perf_counter() - started) / 60, "cpu_minutes": (used.ru_utime + used.ru_stime) / 60}
    model = Recognizer.load(args.model or args.out)
    with np.load(args.data, allow_pickle=False) as content:
        pixels, labels, alphabet = content["x"], content["y"].astype(np.int64), content["alphabet"]
    last = sorted(set(alphabet.tolist()))[-UNSEEN:]
    trained = {name.split("/")[0] for name in model.spec.classes}
    if trained & set(last):
        raise SystemExit(
            f"expected a model that has not seen {last}, but {args.model or args.out} was trained on "
            f"{sorted(trained & set(last))}; use a model trained without them"
        )
    unseen = np.isin(alphabet[labels], last)
    vectors = model.embed(torch.from_numpy(pixels[unseen][:, None]))
    names = labels[unseen]
    pairs = metrics.verify_all_pairs(vectors, names, (1e-2, 1e-3, 1e-4))
    record |= {
        "across": one_shot(vectors, names, alphabet, within=False),
        "within": one_shot(vectors, names, alphabet, within=True),
        "over_three_draws": {
            kind: [one_shot(vectors, names, alphabet, within=kind == "within", seed=seed) for seed in range(3)]
            for kind in ("across", "within")
        },
        "tar_at_far": {f"{point.far:.0e}": point.tar for point in pairs.accepted},
        "auc": pairs.histogram.auc() if pairs.histogram is not None else None,
        "characters": len(np.unique(names)),
        "drawings": len(names),
        "model": model.manifest.id if model.manifest is not None else None,
    }
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
