"""Warnings about margins and scales that are possible but unwise, with the bound that they break."""

from __future__ import annotations

import math
import warnings

from torch import Tensor

from steradian.errors import UnwiseOption
from steradian.losses.margins import AdditiveAngle, AdditiveCosine
from steradian.losses.scales import FixedScale, RowScale, scale_bound


def cosine_margin_bound(num_classes: int, embedding_size: int) -> float:
    """The largest additive cosine margin that C centers in D dimensions can satisfy (CosFace, Wang et al. 2018).

    1 - cos(2 pi / C) in 2-D; elsewhere C / (C - 1), which is reached only if C <= D + 1.
    """
    return 1.0 - math.cos(angle_margin_bound(num_classes, embedding_size))


def angle_margin_bound(num_classes: int, embedding_size: int) -> float:
    """The largest additive angle, in radians: the angle between neighboring centers, at best.

    2 pi / C in 2-D; elsewhere the simplex angle acos(-1 / (C - 1)), which is reached only if C <= D + 1.
    """
    if num_classes < 2:
        return math.pi
    return 2.0 * math.pi / num_classes if embedding_size == 2 else math.acos(-1.0 / (num_classes - 1))


def warn_if_unwise(margin: object, scale: RowScale | None, num_classes: int, embedding_size: int) -> None:
    """Warn of a margin that no arrangement of the centers can satisfy, and of a scale that cannot reach p = 1/2."""
    where = f"{num_classes} classes in {embedding_size} dimensions"
    for kind, bound, unit in (
        (AdditiveCosine, cosine_margin_bound(num_classes, embedding_size), ""),
        (AdditiveAngle, angle_margin_bound(num_classes, embedding_size), " rad"),
    ):
        if isinstance(margin, kind) and not isinstance(margin.margin, Tensor) and margin.margin > bound + 1e-9:
            _warn(
                f"margin={margin.margin:g} is more than {where} can satisfy: at best {bound:.3g}{unit}. "
                "Embeddings will not settle; use a smaller margin or more dimensions."
            )
    least = scale_bound(num_classes, 0.5)
    if isinstance(scale, FixedScale) and num_classes > 2 and scale.value < least:
        _warn(
            f"scale={scale.value:g} cannot bring the probability of the true class above 1/2 with {num_classes} "
            f"classes: that takes {least:.3g}, and 0.99 takes {scale_bound(num_classes):.3g}."
        )


def _warn(text: str) -> None:
    warnings.warn(text, UnwiseOption, stacklevel=4)
