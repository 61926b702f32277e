"""Directions spread evenly over the sphere, for initial or fixed class centers."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from steradian.losses.checks import check_sizes
from steradian.losses.cosines import unit_rows

REPELLED = 2048
"""Above this number of points, random directions are not repelled, because repulsion costs C^2."""


def spread_directions(num_classes: int, embedding_size: int, seed: int = 0) -> Tensor:
    """Return float32 unit vectors [C, D] that are far from each other.

    They form the regular polygon in 2-D and the regular simplex (all cosines -1/(C-1), the optimum) if
    D >= C - 1; otherwise they are random points that repel each other until the closest pairs are far apart.
    """
    check_sizes(num_classes, embedding_size)
    if embedding_size == 2:
        turns = 2.0 * math.pi * torch.arange(num_classes, dtype=torch.float64) / num_classes
        return torch.stack([turns.cos(), turns.sin()], dim=1).float()
    if embedding_size >= num_classes - 1:
        return _simplex(num_classes, embedding_size)
    generator = torch.Generator().manual_seed(seed)
    points = unit_rows(torch.randn(num_classes, embedding_size, generator=generator, dtype=torch.float64))
    return (points if num_classes > REPELLED else _repelled(points)).float()


def _simplex(num_classes: int, embedding_size: int) -> Tensor:
    """Return C unit vectors in C - 1 dimensions, padded with zeros to D."""
    centered = torch.eye(num_classes, dtype=torch.float64) - 1.0 / num_classes
    if num_classes == 1:
        centered = torch.ones(1, 1, dtype=torch.float64)
    left, _, _ = torch.linalg.svd(centered)
    points = unit_rows(left[:, : max(1, num_classes - 1)])
    return torch.nn.functional.pad(points, (0, embedding_size - points.shape[1])).float()


def _repelled(points: Tensor, steps: int = 300) -> Tensor:
    """Minimize a soft maximum of the cosines, with increasing sharpness, by projected gradient descent."""
    diagonal = torch.eye(len(points), dtype=torch.bool)
    for step in range(steps):
        progress = step / steps
        sharpness = 5.0 * 40.0**progress
        pull = torch.softmax((sharpness * (points @ points.T)).masked_fill(diagonal, -math.inf), dim=1)
        points = unit_rows(points - 0.3 * (1.0 - progress) ** 1.5 * (pull + pull.T) @ points / 2.0)
    return points


def angle_margin_bound(num_classes: int, embedding_size: int) -> float:
    """Return the largest angle, in radians, that C centers can all have to their nearest neighbor.

    2 pi / C in 2-D; in 3-D Fejes Toth's bound acos((cot^2 w - 1) / 2), w = pi C / (6 (C - 2)); elsewhere the simplex
    angle acos(-1 / (C - 1)), which is reached only if C <= D + 1. No larger additive angular margin can be satisfied.
    """
    if num_classes < 2:
        return math.pi
    if embedding_size == 2:
        return 2.0 * math.pi / num_classes
    simplex = math.acos(-1.0 / (num_classes - 1))
    if embedding_size == 3 and num_classes > 3:
        wedge = math.pi * num_classes / (6.0 * (num_classes - 2))
        return min(simplex, math.acos((math.tan(wedge) ** -2 - 1.0) / 2.0))
    return simplex


def typical_spacing(num_classes: int, embedding_size: int) -> float:
    """Return the approximate angle, in radians, between C evenly spread directions and their nearest neighbors.

    It is `angle_margin_bound` in 2-D and for D >= C - 1, where the bound is reached; in 3-D it is the hexagonal
    packing's sqrt(8 pi / (sqrt(3) C)) (69 degrees for C = 10, where the best known packing has 66); otherwise it is
    the median that `spread_directions` reaches, or a right angle for more than `REPELLED` classes.
    """
    if embedding_size == 2 or embedding_size >= num_classes - 1:
        return angle_margin_bound(num_classes, embedding_size)
    if embedding_size == 3:
        return math.sqrt(8.0 * math.pi / (math.sqrt(3.0) * num_classes))
    return math.pi / 2.0 if num_classes > REPELLED else _reached_spacing(num_classes, embedding_size)


@functools.lru_cache
def _reached_spacing(num_classes: int, embedding_size: int) -> float:
    """Return the median angle between each of `spread_directions` and its nearest neighbor."""
    points = spread_directions(num_classes, embedding_size).double()
    nearest = (points @ points.T).fill_diagonal_(-1.0).amax(dim=1)
    return float(torch.acos(nearest.clamp(-1.0, 1.0)).median())
