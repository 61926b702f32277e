"""SV-Softmax and SV-X among 3,856 classes: the characters of Omniglot's background set, each in four quarter turns.

    python benchmarks/claims/characters.py --data omniglot_background_28.npz
    python benchmarks/claims/characters.py --data omniglot_background_28.npz --scales 8 16 32 \\
        --record benchmarks/claims/characters_coarse.json

Each seed divides the drawings of a character 10 : 4 : 6 into training, validation and test; the turns of a drawing stay
together. The features are not learned: the mean strength of the edges of eight directions in 7 x 7 places. One hidden
layer of 256 and 64 dimensions learn from them with each loss, by the same schedule. Options are chosen one after the
other (scale, margin, t) by the validation accuracy of the first seed. Results are kept one by one: run it again to go
on. The second command leaves a scale out, which changes the answer.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heads import class_means
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from steradian import losses

SEEDS = range(3)
TURNS, TRAIN, VALIDATION = 4, 10, 4
DIRECTIONS, PLACE, APART = 8, 6, 4
"""Directions of edges; width and distance in pixels of the places where their strength is averaged."""
WIDTH, DIMENSIONS, EPOCHS, TRIED_EPOCHS, BATCH = 256, 64, 5, 2, 256
RATE, FASTER = 6e-3, 5.0
"""Highest learning rate, and that of the class centers relative to it."""

SCALES, MARGINS, TS = (8.0, 12.0, 16.0, 32.0), (0.1, 0.25), (1.05, 1.2)
ARMS: dict[str, dict[str, tuple[float, ...]]] = {
    "normface": {"scale": SCALES},
    "sv-softmax": {"scale": SCALES, "t": TS},
    "cosface": {"scale": SCALES, "margin": MARGINS},
    "sv-cosface": {"scale": SCALES, "margin": MARGINS, "t": TS},
}
"""Options that are tried for each loss; while one is chosen, those after it have their first value."""


@dataclass(frozen=True)
class Drawings:
    """Features float32 [N, F] and labels of the parts of one division."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int


def edges(images: Tensor) -> Tensor:
    """Return the strength of the edges by direction and place, [N, F], of uint8 images [N, 28, 28]."""
    ink = functional.avg_pool2d(1.0 - images[:, None].float() / 255.0, 3, 1, 1)
    right = functional.pad(ink[..., 2:] - ink[..., :-2], (1, 1))
    down = functional.pad(ink[..., 2:, :] - ink[..., :-2, :], (0, 0, 1, 1))
    angles = [2 * math.pi * number / DIRECTIONS for number in range(DIRECTIONS)]
    strengths = torch.cat([(right * math.cos(angle) + down * math.sin(angle)).relu() for angle in angles], dim=1)
    return functional.avg_pool2d(strengths, PLACE, APART, 1).flatten(1).sqrt()


def divided(path: Path, seed: int) -> Drawings:
    """Divide the drawings of each character by ``seed``, and turn them into the images of four classes."""
    with np.load(path, allow_pickle=False) as content:
        images, labels = torch.from_numpy(content["x"]), content["y"].astype(np.int64)
    generator = np.random.default_rng(seed)
    order = np.stack([generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    parts = []
    for columns in np.split(order, (TRAIN, TRAIN + VALIDATION), axis=1):
        rows = columns.ravel()
        codes = torch.from_numpy(labels[rows])
        features = [edges(torch.rot90(images[rows], turns, (1, 2))) for turns in range(TURNS)]
        parts.append((torch.cat(features), torch.cat([TURNS * codes + turns for turns in range(TURNS)])))
    mean, deviation = parts[0][0].mean(dim=0), parts[0][0].std(dim=0) + 1e-3
    train, validation, test = (((features - mean) / deviation, codes) for features, codes in parts)
    return Drawings(train, validation, test, TURNS * len(order))


def trained(
    name: str, options: dict[str, float], data: Drawings, seed: int, epochs: int
) -> tuple[nn.Module, nn.Module]:
    """Return the network and the loss, ready to be measured."""
    torch.manual_seed(seed)
    x, y = data.train
    body = nn.Sequential(nn.Linear(x.shape[1], WIDTH), nn.ReLU(), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, DIMENSIONS))
    loss = losses.create(name, data.classes, DIMENSIONS, **options)
    optimizer = torch.optim.Adam([{"params": [*body.parameters()]}, {"params": [*loss.parameters()]}], RATE)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [RATE, FASTER * RATE], total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            optimizer.zero_grad()
            loss(body(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return body.eval(), loss.eval()


@torch.no_grad()
def accuracy(body: nn.Module, loss: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Return the share of the images whose highest logit is their class."""
    guesses = [loss.logits(body(chunk)).argmax(1) for chunk in part[0].split(1024)]
    return float((torch.cat(guesses) == part[1]).float().mean())


@torch.no_grad()
def accuracy_by_means(body: nn.Module, data: Drawings) -> float:
    """Return the share of the test images that are nearest to the mean of the training images of their class."""
    means = class_means(body(data.train[0]), data.train[1], data.classes)
    guesses = [(body(chunk) @ means.T).argmax(1) for chunk in data.test[0].split(1024)]
    return float((torch.cat(guesses) == data.test[1]).float().mean())


def chosen(name: str, data: Drawings, scales: Sequence[float]) -> list[tuple[dict[str, float], float]]:
    """Return the options that were tried, with their validation accuracies; the best come first."""
    choices = {**ARMS[name], "scale": tuple(scales)}
    options = {option: values[0] for option, values in choices.items()}
    tried: dict[tuple[tuple[str, float], ...], float] = {}
    for option, values in choices.items():
        for value in values:
            one = {**options, option: value}
            key = tuple(one.items())
            if key not in tried:
                tried[key] = accuracy(*trained(name, one, data, 0, TRIED_EPOCHS), data.validation)
        options = dict(max(tried, key=lambda key: tried[key]))
    return [(dict(key), tried[key]) for key in sorted(tried, key=lambda key: -tried[key])]


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--record", type=Path, default=Path(__file__).with_name("characters.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = json.loads(args.record.read_text()) if args.record.is_file() else []
    for seed in SEEDS:
        data = divided(args.data, seed)
        for name in tqdm(ARMS, desc=f"seed {seed}", unit="arm"):
            own = [row for row in rows if row["arm"] == name]
            if seed in {row["seed"] for row in own}:
                continue
            row: dict[str, Any] = {"set": "omniglot", "few": None, "arm": name, "seed": seed}
            row["options"] = own[0]["options"] if own else {}
            if not own:
                row["tries"] = chosen(name, data, args.scales)
                row["options"] = row["tries"][0][0]
            body, loss = trained(name, row["options"], data, seed, EPOCHS)
            row |= {"top1": accuracy(body, loss, data.test), "means": accuracy_by_means(body, data)}
            rows.append(row)
            args.record.write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
