"""Warnings about margins and scales that are possible but unwise, with the bound that they break."""

from __future__ import annotations

import math
import warnings

import torch

from steradian.errors import UnwiseOption
from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.directions import angle_margin_bound
from steradian.losses.margins import Margin
from steradian.losses.scales import FixedScale, RowScale, scale_bound, scale_for


def cosine_margin_bound(num_classes: int, embedding_size: int) -> float:
    """The largest additive cosine margin that C centers in D dimensions can satisfy (CosFace, Wang et al. 2018).

    1 - cos of `angle_margin_bound`: 1 - cos(2 pi / C) in 2-D, C / (C - 1) where the simplex fits.
    """
    return 1.0 - math.cos(angle_margin_bound(num_classes, embedding_size))


def warn_if_unwise(
    margin: Margin | AdaptiveMargin | None, scale: RowScale | None, num_classes: int, embedding_size: int
) -> None:
    """Warn of a margin that no arrangement of the centers can satisfy, and of a scale that cannot reach p = 1/2."""
    where = f"{num_classes} classes in {embedding_size} dimensions"
    if margin is not None:
        typical = margin.typical() if isinstance(margin, AdaptiveMargin) else margin
        at_home = float(typical.logit(torch.zeros(1, dtype=torch.float64, device="cpu")))
        bound = angle_margin_bound(num_classes, embedding_size)
        if at_home < math.cos(bound) - 1e-9:
            _warn(
                f"{margin} is more than {where} can satisfy: on top of its own center an image still loses to the "
                f"nearest other one. At best {bound:.3g} rad, or {1.0 - math.cos(bound):.3g} of a cosine, can be met; "
                "use a smaller margin or more dimensions."
            )
    half = scale_for(num_classes, 0.5, angle_margin_bound(num_classes, num_classes))
    if isinstance(scale, FixedScale) and scale.value < half:
        _warn(
            f"scale={scale.value:g} cannot bring the probability of the true class above 1/2 with {num_classes} "
            f"classes: that takes {half:.3g}, and 0.99 takes {scale_bound(num_classes):.3g}."
        )


def _warn(text: str) -> None:
    warnings.warn(text, UnwiseOption, stacklevel=4)
