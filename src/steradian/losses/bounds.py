"""Warn about margins and scales that are valid but exceed a theoretical bound."""

from __future__ import annotations

import math
import warnings

import torch

from steradian.errors import OptionWarning
from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.directions import angle_margin_bound
from steradian.losses.margins import Margin
from steradian.losses.scales import FixedScale, RowScale, scale_bound, scale_for


def cosine_margin_bound(num_classes: int, embedding_size: int) -> float:
    """Return the largest additive cosine margin that C centers in D dimensions can satisfy (CosFace, Wang et al. 2018).

    It is 1 - cos of `angle_margin_bound`: 1 - cos(2 pi / C) in 2-D, C / (C - 1) where the simplex fits.
    """
    return 1.0 - math.cos(angle_margin_bound(num_classes, embedding_size))


def warn_if_unwise(
    margin: Margin | AdaptiveMargin | None, scale: RowScale | None, num_classes: int, embedding_size: int
) -> None:
    """Warn about a margin that no arrangement of centers can satisfy, or a scale that cannot reach p = 1/2."""
    where = f"{num_classes} classes in {embedding_size} dimensions"
    if margin is not None:
        typical = margin.typical() if isinstance(margin, AdaptiveMargin) else margin
        best_logit = float(typical.logit(torch.zeros(1, dtype=torch.float64, device="cpu")))
        bound = angle_margin_bound(num_classes, embedding_size)
        if best_logit < math.cos(bound) - 1e-9:
            _warn(
                f"{margin} is more than {where} can satisfy: even at its own class center, the margined logit of an "
                f"image stays below that of the nearest other class. The largest margin that can be satisfied is "
                f"{bound:.3g} rad, or {1.0 - math.cos(bound):.3g} in cosine units. "
                "Use a smaller margin or more dimensions."
            )
    half = scale_for(num_classes, 0.5, angle_margin_bound(num_classes, num_classes))
    if isinstance(scale, FixedScale) and scale.value < half:
        _warn(
            f"scale={scale.value:g} cannot bring the probability of the true class above 1/2 with {num_classes} "
            f"classes: 1/2 takes a scale of {half:.3g}, and 0.99 takes {scale_bound(num_classes):.3g}. Raise the scale."
        )


def _warn(text: str) -> None:
    warnings.warn(text, OptionWarning, stacklevel=4)
