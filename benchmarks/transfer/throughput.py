"""Features of photographs from their files on, by each runtime: images a CPU second, and where the time goes.

    python benchmarks/transfer/throughput.py --data clothing_small --record benchmarks/transfer/throughput.json

EfficientNet-Lite0 as packaged, 160 px. Runtimes take turns; medians; CPU seconds of all threads, decoding included.
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
from steradian.models.pretrained import PACKAGED, load_pretrained, taught
from steradian.models.runtimes import available_runtimes, fast_encoder
from steradian.training.resources import environment

SIZE, BATCH = 160, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", type=Path)
    chosen = parser.parse_args()
    known = taught(PACKAGED, "package")
    shape = Preprocessing(SIZE, 3, known.mean, known.std, known.crop, known.interpolation)
    everything = data.open(chosen.data)
    some = torch.linspace(0, len(everything) - 1, chosen.images).long().numpy()
    images = ImageSet(
        everything.source, ChosenItems(everything.items, some), everything.labels[some], everything.classes
    )
    encoder, _ = build_encoder(PACKAGED, channels=3, size=SIZE)
    load_pretrained(encoder, PACKAGED, "package")
    encoder.eval()

    @torch.no_grad()
    def eager(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = encoder(shape.normalize(pixels.float() / 255.0))
        return found

    runtimes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"eager": eager}
    runtimes |= {name: fast_encoder(encoder, shape, name) for name in available_runtimes()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runtimes}
    for _ in range(chosen.rounds):
        for name, encode in runtimes.items():
            began = time.process_time()
            pixels = load_pixels(
                images, size=SIZE, channels=3, crop=shape.crop, interpolation=shape.interpolation
            ).pixels
            decoded = time.process_time()
            for start in range(0, len(pixels), BATCH):
                encode(torch.from_numpy(pixels[start : start + BATCH]))
            spent[name].append((decoded - began, time.process_time() - decoded))
    record: dict[str, object] = {**environment(), "images": chosen.images, "size": SIZE}
    whole = {name: statistics.median(a + b for a, b in values) for name, values in spent.items()}
    record["runtimes"] = {
        name: {
            "images_per_cpu_second": round(chosen.images / whole[name], 1),
            "times_eager": round(whole["eager"] / whole[name], 2),
            "share_of_decoding": round(statistics.median(a / (a + b) for a, b in values), 3),
        }
        for name, values in spent.items()
    }
    print(json.dumps(record, indent=2))
    if chosen.record is not None:
        chosen.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
