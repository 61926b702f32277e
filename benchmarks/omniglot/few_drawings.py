"""Train on few drawings of characters that the model of symbols has never seen: the default against learning.

    python benchmarks/omniglot/few_drawings.py --data omniglot_background_28.npz --glyphs runs/glyphs

Half of the characters of the last six alphabets are trained on, with 5 or 15 drawings each, and tested on 5 others of
each. The other half is only compared: recall at 1 and TAR at FAR 1e-2.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from steradian.models.encoders import WIDE_RESIDUAL
from steradian.studies.single_run import train
from steradian.training import Recipe, read_recipe
from steradian.training.adaptation.embedding import score_unseen
from steradian.training.resources import environment

UNSEEN, TEST = 6, 5
GLYPHS = Path(__file__).parents[2] / "recipes" / "glyphs.yaml"


def recipes(source: str, glyphs: Path) -> dict[str, Recipe]:
    """Return the default, with a model ``glyphs`` that has not seen these characters, and what learns from nothing."""
    data = {"data.source": source}
    schedule = {**data, "data.unseen": 0.0, "data.test": 0.2, "data.validation": 0.0}
    return {
        "default (adapts glyphs)": Recipe().changed(
            **data, encoder=WIDE_RESIDUAL, weights=str(glyphs), **{"data.image_size": 28}
        ),
        "the schedule of glyphs, from nothing": read_recipe(GLYPHS).changed(
            **schedule, **{"data.quarter_turns": False}
        ),
        "the same with quarter turns": read_recipe(GLYPHS).changed(**schedule),
        "small encoder, from nothing": Recipe().changed(**data, encoder="small"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--glyphs", required=True, type=Path, help="run of the recipe without the last six alphabets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "few_drawings.json")
    args = parser.parse_args()
    with np.load(args.data, allow_pickle=False) as content:
        pixels, labels, alphabet = content["x"], content["y"].astype(np.int64), content["alphabet"]
    last = sorted(set(alphabet.tolist()))[-UNSEEN:]
    generator = np.random.default_rng(0)
    characters = generator.permutation(np.unique(labels[np.isin(alphabet[labels], last)]))
    trained, others = np.array_split(characters, 2)
    compared = np.flatnonzero(np.isin(labels, others))
    found = {}
    for drawings in (5, 15):
        with tempfile.TemporaryDirectory() as scratch:
            for character in trained:
                order = generator.permutation(np.flatnonzero(labels == character))
                for part, chosen in (("train", order[TEST : TEST + drawings]), ("test", order[:TEST])):
                    folder = Path(scratch) / "data" / part / f"{character}"
                    folder.mkdir(parents=True)
                    for image in chosen:
                        Image.fromarray(pixels[image]).save(folder / f"{image}.png")
            for name, recipe in recipes(str(Path(scratch) / "data"), args.glyphs).items():
                started = time.perf_counter()
                run = train(recipe, Path(scratch) / "run", exist_ok=True, quiet=True)
                seconds = time.perf_counter() - started
                vectors = run.model.embed(torch.from_numpy(pixels[compared][:, None]))
                score = score_unseen(vectors, labels[compared], compared)
                assert run.evaluation is not None and score is not None
                row = {
                    "accuracy": round(run.evaluation.metrics.numbers["closed"]["accuracy"], 4),
                    "recall of other characters": round(score.recall_at_1, 4),
                    "TAR of other characters": round(score.tar, 4),
                    "seconds": round(seconds),
                }
                found[f"{drawings} drawings, {name}"] = row
                print(drawings, name, row, flush=True)
    args.out.write_text(json.dumps({**found, **environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
