"""Whether matching parts of pictures ranks the best names of a gallery better.

    python benchmarks/promises/local_matching.py --data DIR

Queries, galleries and strangers are those of `comparisons.py` with five images of each name. The five best names of a
query are ranked again by cosine + weight * local, where local is the mean, over the parts of the query, of the highest
cosine to a part of the enrolled image that is nearest to it. Parts are the places of the last map of the encoder
`lite0` (7 x 7), or of the one before (14 x 14), each less the mean of all maps. Results go to local_matching.json.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparisons import ASKED, answers, interval
from numpy.typing import NDArray
from sets import FILES, load
from torch.nn import functional

from steradian import Recognizer, data
from steradian.data.pixels import load_for
from steradian.metrics.checks import unit
from steradian.training.resources import environment

SETS, IMAGES, NAMES = ("gtsrb", "monuments"), 5, 5
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
STAGES = {"7 x 7": 1, "14 x 14": 2}
"""Place of a stage, counted from the last."""

Parts = NDArray[np.float32]


@torch.no_grad()
def parts_of(folder: Path, name: str) -> dict[str, Parts]:
    """Return the parts of all images as unit vectors [N, places, channels] for each of `STAGES`."""
    model = Recognizer.pretrained("lite0")
    pixels = load_for(data.open(folder / FILES[name]), model.preprocessing)[0].pixels
    found: dict[str, list[NDArray[np.float16]]] = {stage: [] for stage in STAGES}
    for start in range(0, len(pixels), 16):
        samples = model.prepare(torch.from_numpy(np.ascontiguousarray(pixels[start : start + 16])))
        encoder: Any = getattr(model.encoder, "model", model.encoder)
        _, maps = encoder.forward_intermediates(samples, indices=max(STAGES.values()))
        for stage, place in STAGES.items():
            found[stage].append(maps[-place].flatten(2).transpose(1, 2).half().numpy())
    parts = {}
    for stage, pieces in found.items():
        vectors = torch.from_numpy(np.concatenate(pieces)).float()
        parts[stage] = functional.normalize(vectors - vectors.mean(dim=(0, 1)), dim=2).numpy()
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    record: dict[str, Any] = {**environment(), "date": str(date.today()), "draws": args.draws, "sets": {}}
    for name in SETS:
        content = load(name, args.data)
        vectors, labels = unit(content.final).astype(np.float32), content.labels
        parts = parts_of(args.data, name)
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in range(args.draws):
            generator = np.random.default_rng(seed)
            classes = generator.permutation(np.flatnonzero(np.bincount(labels) > IMAGES))
            enrolled, gallery, known = classes[: len(classes) // 2], [], []
            for label in enrolled:
                images = generator.permutation(np.flatnonzero(labels == label))
                gallery, known = [*gallery, *images[:IMAGES]], [*known, *images[IMAGES : IMAGES + ASKED]]
            others = np.setdiff1d(np.unique(labels), enrolled)
            asked = [generator.permutation(np.flatnonzero(labels == one))[:ASKED] for one in others]
            queries, owners = np.concatenate([known, *asked]), labels[gallery]
            cosines = vectors[queries] @ vectors[gallery].T
            order = np.argsort(-cosines, axis=1)
            # The nearest image of each of the best names.
            best = np.stack([row[np.sort(np.unique(owners[row], return_index=True)[1])[:NAMES]] for row in order])
            top = np.take_along_axis(cosines, best, axis=1)
            for stage, own in parts.items():
                local = np.empty_like(top)
                for number, query in enumerate(queries):
                    for place in range(NAMES):
                        local[number, place] = (own[query] @ own[gallery[best[number, place]]].T).max(axis=1).mean()
                for weight in WEIGHTS:
                    scores = top + weight * local
                    first = scores.argmax(axis=1)
                    right = owners[best[np.arange(len(first)), first]] == labels[queries]
                    confidence = scores.max(axis=1)
                    value = answers(right[: len(known)], confidence[: len(known)], confidence[len(known) :])
                    rows.setdefault(f"{stage}, weight {weight:g}", []).append(value)
        base = rows["7 x 7, weight 0"]
        record["sets"][name] = {
            way: {
                key: {
                    "mean": interval([one[key] for one in drawn])[0],
                    "gain": interval([one[key] - before[key] for one, before in zip(drawn, base, strict=True)]),
                }
                for key in drawn[0]
            }
            for way, drawn in rows.items()
        }
        for way, values in record["sets"][name].items():
            print(name, way, {key: (one["mean"], one["gain"]) for key, one in values.items()}, flush=True)
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
