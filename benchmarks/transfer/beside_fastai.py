"""Measure the test accuracy of fastai's `fine_tune` after every epoch, on the same photographs, weights and pixels.

    python benchmarks/transfer/beside_fastai.py --data clothing_small --epochs 5 --record fastai.json

As `fine_tune` does, it trains one epoch with the encoder frozen, then the given number with all layers, with its
defaults. The time is CPU seconds of the process without those of measuring. Install fastai first; it is no dependency.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import fastai
import timm
import torch
from fastai.vision.all import (
    Callback,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    params,
)
from torch import nn

from steradian.models.pretrained import PretrainedWeights
from steradian.models.weight_packages import PACKAGED
from steradian.training.resources import environment

SIZE = 160


class TestAccuracy(Callback):
    """Measures the accuracy on the test part after every epoch."""

    def __init__(self, items: Any, labels: list[str]) -> None:
        self.items, self.labels = items, labels
        self.rows: list[dict[str, float]] = []
        self.measuring = 0.0
        self.began = time.process_time()

    def after_epoch(self) -> None:
        before = time.process_time()
        loader = self.learn.dls.test_dl(self.items)
        self.learn.model.eval()
        correct = 0
        with torch.no_grad():
            start = 0
            for (images,) in loader:
                predicted = self.learn.model(images).argmax(dim=1).tolist()
                names = [self.learn.dls.vocab[label] for label in predicted]
                correct += sum(a == b for a, b in zip(names, self.labels[start : start + len(names)], strict=True))
                start += len(names)
        spent = before - self.began - self.measuring
        self.measuring += time.process_time() - before
        self.rows.append({"cpu_seconds": round(spent, 1), "accuracy": correct / len(self.labels)})
        print(self.rows[-1], flush=True)


def split(model: nn.Module) -> list[Any]:
    """Split the parameters into encoder and classifier for fastai's discriminative learning rates."""
    return [params(model[0]), params(model[1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    loaders = ImageDataLoaders.from_folder(
        args.data,
        train="train",
        valid="validation",
        item_tfms=Resize(SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats([0.5] * 3, [0.5] * 3, cuda=False)],
        num_workers=0,
        bs=64,
    )
    encoder = timm.create_model(PACKAGED, num_classes=0)
    PretrainedWeights.open(PACKAGED, "package").fill(encoder)
    model = nn.Sequential(encoder, nn.Linear(encoder.num_features, loaders.c))
    test = get_image_files(args.data / "test")
    measure = TestAccuracy(test, [path.parent.name for path in test])
    learner = Learner(loaders, model, metrics=accuracy, splitter=split, cbs=[measure])
    with learner.no_bar():
        learner.fine_tune(args.epochs)
    record = {**environment(), "fastai": fastai.__version__, "epochs": args.epochs, "rows": measure.rows}
    print(json.dumps(record, indent=2))
    if args.record is not None:
        args.record.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
