"""Margins and scales that fit the number of classes and dimensions.

The margins and scales of papers are for thousands of classes in 512 dimensions. In 2-D ten classes stand 36
degrees apart and a margin of 0.5 rad cannot be met. Here every technique gets the same room: margins are shares of
the typical spacing of C directions in D dimensions, and the scale is the one at which a perfect embedding reaches
probability 0.99. `create` keeps the defaults of the papers; training and comparisons start from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from steradian.errors import UsageError
from steradian.losses.directions import typical_spacing
from steradian.losses.registry import preset

Fit = Callable[[float, float], dict[str, Any]]
"""(spacing in radians, scale) -> options."""

FITS: dict[str, Fit] = {
    "softmax": lambda spacing, scale: {"bias": False},
    "normface": lambda spacing, scale: {"scale": scale},
    "triplet": lambda spacing, scale: {"margin": 0.5 * spacing},
    "contrastive": lambda spacing, scale: {"margin": 2.0 * math.sin(spacing / 2.0)},
    "sphereface": lambda spacing, scale: {"scale": scale, "margin": 1.5, "lambda_base": 0.0, "lambda_min": 0.0},
    "cosface": lambda spacing, scale: {"scale": scale, "margin": 0.5 * (1.0 - math.cos(spacing))},
    "arcface": lambda spacing, scale: {"scale": scale, "margin": spacing / 3.0},
    "sphere-arc": lambda spacing, scale: {"scale": scale, "m_s": 2.0, "m_a": spacing / 3.0},
}

DEPARTURES = {
    "softmax": "without bias, so that every technique is angles and lengths to centers alone",
    "sphereface": "with the fixed scale of the others in place of the norm and of lambda annealing",
}
"""Where the fit is more than a number: the published loss and what differs."""


def fitting_scale(num_classes: int, spacing: float, probability: float = 0.99) -> float:
    """s with s (1 - cos spacing) = ln((C - 1) P / (1 - P)), at most 64.

    With all wrong centers at ``spacing``, the target then has probability P; the bound of CosFace (Wang et al. 2018)
    for general angles.
    """
    odds = math.log(max(1, num_classes - 1) * probability / (1.0 - probability))
    return min(64.0, odds / (1.0 - math.cos(spacing)))


def fitted_options(name: str, num_classes: int, embedding_size: int) -> dict[str, Any]:
    """Options for the loss ``name`` that fit C classes in D dimensions.

    Raises:
        UsageError: unknown name.
    """
    preset(name)
    if name not in FITS:
        raise UsageError(f"The loss {name!r} has no fit yet; give its options. Those that do: {', '.join(FITS)}.")
    spacing = typical_spacing(num_classes, embedding_size)
    return FITS[name](spacing, fitting_scale(num_classes, spacing))
