"""Add made-up characters of two others each to a set of drawings, as further classes to train on.

    python benchmarks/omniglot/made_up.py --data omniglot_background_28.npz --out with_made_up.npz --count 2500

A made-up character places two characters of the training alphabets, each turned by some quarter turns, beside, above,
inside or across each other; each of its drawings pairs a drawing of both. Unseen alphabets give none. The file holds
the drawings of the data first, then those of the made-up characters.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MADE_UP = "(made up)"
"""Their alphabet; it comes before all others by name."""

CANVAS = 56
"""Pixels on which strokes are placed, before they are scaled down to 28."""

Placement = tuple[float, float, float, float]
"""Width, height and position of a character on a page from -1 to 1."""


def placements(generator: np.random.Generator) -> tuple[Placement, Placement]:
    """Draw how two characters lie to each other."""
    share = float(generator.uniform(0.4, 0.6))
    inside = generator.uniform(-0.5, 0.5, 2).tolist()
    beside = (share, 0.9, share - 1.0, 0.0), (1.0 - share, 0.9, share, 0.0)
    above = (0.9, share, 0.0, share - 1.0), (0.9, 1.0 - share, 0.0, share)
    within = (0.95, 0.95, 0.0, 0.0), (0.45, 0.45, inside[0], inside[1])
    across = (0.75, 0.75, -0.2, -0.2), (0.75, 0.75, 0.2, 0.2)
    return (beside, above, within, across)[int(generator.integers(4))]


def placed(ink: Tensor, placement: Placement, turns: int) -> Tensor:
    """Return ink [N, 1, 28, 28] turned and placed on a canvas [N, 1, 56, 56]."""
    width, height, right, down = placement
    drawn = functional.interpolate(torch.rot90(ink, turns, (2, 3)), size=(CANVAS, CANVAS), mode="bilinear")
    maps = torch.tensor([[1 / width, 0.0, -right / width], [0.0, 1 / height, -down / height]])
    grid = functional.affine_grid(maps.expand(len(ink), 2, 3), list(drawn.shape), align_corners=False)
    return functional.grid_sample(drawn, grid, padding_mode="zeros", align_corners=False)


def made_up(pixels: NDArray[np.uint8], drawings: list[NDArray[np.intp]], count: int, each: int) -> NDArray[np.uint8]:
    """Return ``count`` characters, uint8 [count, each, 28, 28]; ``drawings``: rows of each character of the data."""
    generator = np.random.default_rng(0)
    characters = []
    for _ in range(count):
        pair = generator.choice(len(drawings), 2, replace=False)
        rows = [generator.permutation(drawings[one])[:each] for one in pair]
        inks = [1.0 - torch.from_numpy(pixels[own]).float()[:, None] / 255.0 for own in rows]
        turns = generator.integers(4, size=2).tolist()
        both = [placed(*one) for one in zip(inks, placements(generator), turns, strict=True)]
        strokes = functional.avg_pool2d(torch.maximum(*both), 2)
        # Scaled down, a stroke is wide and gray; those of the data are narrow and black.
        strokes = ((strokes - 0.12) * 2.4).clamp(0.0, 1.0)
        characters.append((255 - 255 * strokes[:, 0]).round().to(torch.uint8).numpy())
    return np.stack(characters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--each", type=int, default=13, help="drawings of each made-up character")
    parser.add_argument("--unseen", type=int, default=6, help="last alphabets by name that nothing is taken from")
    args = parser.parse_args()
    with np.load(args.data, allow_pickle=False) as content:
        pixels, labels, alphabet = content["x"], content["y"].astype(np.int64), content["alphabet"]
        names = content["names"]
    alphabets = sorted(set(alphabet.tolist()))
    trained = np.flatnonzero(np.isin(alphabet, alphabets[: len(alphabets) - args.unseen]))
    rows = [np.flatnonzero(labels == one) for one in trained]
    characters = made_up(pixels, rows, args.count, args.each)
    np.savez(
        args.out,
        x=np.concatenate([pixels, characters.reshape(-1, *pixels.shape[1:])]),
        y=np.concatenate([labels, len(names) + np.repeat(np.arange(args.count), args.each)]),
        names=np.concatenate([names, [f"{MADE_UP}/{number}" for number in range(args.count)]]),
        alphabet=np.concatenate([alphabet, [MADE_UP] * args.count]),
    )


if __name__ == "__main__":
    main()
