"""Time the computation of features from image files by each runtime: images per CPU second, and time for decoding.

    python benchmarks/transfer/throughput.py --data clothing_small --record benchmarks/transfer/throughput.json

EfficientNet-Lite0 from its package, 160 px. Runtimes alternate; medians; CPU seconds of all threads, with decoding.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from steradian import data
from steradian.data import Preprocessing
from steradian.data.images import ChosenItems, ImageSet
from steradian.data.pixels import load_pixels
from steradian.models.encoders import build_encoder
from steradian.models.pretrained import PretrainedWeights, pretrained_preprocessing
from steradian.models.runtimes import available_runtimes, fast_encoder
from steradian.models.weight_packages import PACKAGED
from steradian.training.resources import environment

SIZE, BATCH = 160, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    pretrained = pretrained_preprocessing(PACKAGED, "package")
    preprocessing = Preprocessing(SIZE, 3, pretrained.mean, pretrained.std, pretrained.crop, pretrained.interpolation)
    all_images = data.open(args.data)
    subset = torch.linspace(0, len(all_images) - 1, args.images).long().numpy()
    images = ImageSet(
        all_images.source, ChosenItems(all_images.items, subset), all_images.labels[subset], all_images.classes
    )
    encoder, _ = build_encoder(PACKAGED, channels=3, size=SIZE)
    PretrainedWeights.open(PACKAGED, "package").fill(encoder)
    encoder.eval()

    @torch.no_grad()
    def eager(pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = encoder(preprocessing.normalize(pixels.float() / 255.0))
        return features

    runtimes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"eager": eager}
    runtimes |= {name: fast_encoder(encoder, preprocessing, name) for name in available_runtimes()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runtimes}
    for _ in range(args.rounds):
        for name, encode in runtimes.items():
            started = time.process_time()
            pixels = load_pixels(
                images, size=SIZE, channels=3, crop=preprocessing.crop, interpolation=preprocessing.interpolation
            ).pixels
            decoded = time.process_time()
            for start in range(0, len(pixels), BATCH):
                encode(torch.from_numpy(pixels[start : start + BATCH]))
            spent[name].append((decoded - started, time.process_time() - decoded))
    record: dict[str, object] = {**environment(), "images": args.images, "size": SIZE}
    total_seconds = {name: statistics.median(a + b for a, b in values) for name, values in spent.items()}
    record["runtimes"] = {
        name: {
            "images_per_cpu_second": round(args.images / total_seconds[name], 1),
            "times_eager": round(total_seconds["eager"] / total_seconds[name], 2),
            "share_of_decoding": round(statistics.median(a / (a + b) for a, b in values), 3),
        }
        for name, values in spent.items()
    }
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
