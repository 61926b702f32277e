"""The scale s of the logits: a number, the norm, learned, or found from the number of classes or the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from steradian.errors import InputError
from steradian.losses.angles import angle
from steradian.losses.directions import angle_margin_bound
from steradian.losses.ranges import hint, in_range, is_finite_number, shown

LogSum = Callable[[Tensor], Tensor]
"""s, a scalar -> logsumexp_{k != y} s c_ik, [N]: a batch's wrong cosines, however they are computed."""

Scale = float | Literal["norm", "learnable", "adacos", "adacos-fixed", "bound", "clipped-norm"]

LEAST = 1.0
"""Scales that are found, not given, stay at or above this: with two classes AdaCos would be 0 or negative."""


def scale_bound(num_classes: int, probability: float = 0.99) -> float:
    """The least s at which a perfect embedding reaches ``probability``: (C-1)/C ln((C-1)P/(1-P)) (CosFace, 2018).

    Centers stand at the simplex angle. At least `LEAST`.

    Raises:
        InputError: ``probability`` is not inside (0, 1).
    """
    return max(LEAST, scale_for(num_classes, probability, angle_margin_bound(num_classes, num_classes)))


def scale_for(num_classes: int, probability: float, spacing: float) -> float:
    """s with s (1 - cos spacing) = ln((C - 1) P / (1 - P)): `scale_bound` for any angle between centers, without floor.

    With all wrong centers at ``spacing`` radians, an image on its own center then has ``probability``.
    """
    in_range("probability", probability, 1e-12, 1.0 - 1e-12, "inside (0, 1)")
    return math.log(max(1, num_classes - 1) * probability / (1.0 - probability)) / (1.0 - math.cos(spacing))


def adacos_scale(num_classes: int) -> float:
    """sqrt(2) ln(C - 1) (AdaCos, Zhang et al. 2019), at least `LEAST`."""
    return max(LEAST, math.sqrt(2.0) * math.log(max(1, num_classes - 1)))


class RowScale(nn.Module):
    """s, as one number for all rows or one a row [N, 1]."""

    def forward(self, embeddings: Tensor) -> Tensor | float:
        """s for the raw embeddings [N, D]."""
        raise NotImplementedError

    @property
    def observes(self) -> bool:
        """Whether `observe` is wanted now."""
        return False

    def observe(self, own: Tensor, log_sum: LogSum) -> None:
        """See the target cosines [N, 1] of a batch, and its wrong ones, before it is used."""

    @property
    def reported(self) -> float | str:
        """What ``loss.scale`` shows: the number in use now, or the word."""
        raise NotImplementedError


class FixedScale(RowScale):
    """One number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = float(value)

    def forward(self, embeddings: Tensor) -> float:
        return self.value

    @property
    def reported(self) -> float:
        return self.value


class NormScale(RowScale):
    """|x|: the embedding's own length (softmax, SphereFace)."""

    def forward(self, embeddings: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        return norms

    @property
    def reported(self) -> str:
        return "norm"


class ClippedNormScale(RowScale):
    """clip(R |x|, 1, 1e9) with one learned R, 1 at first (system A's second score)."""

    def __init__(self) -> None:
        super().__init__()
        self.ratio = nn.Parameter(torch.tensor(1.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        clipped: Tensor = (self.ratio * norms).clamp(1.0, 1e9)
        return clipped

    @property
    def reported(self) -> str:
        return "clipped-norm"


class LearnableScale(RowScale):
    """One learned number (NormFace, Wang et al. 2017), as its logarithm so that it stays positive."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.log_scale.exp()

    @property
    def reported(self) -> float:
        return float(self.log_scale.detach().exp())


class AdaCosScale(RowScale):
    """s = ln(B) / cos(min(pi/4, median theta_y)), B = mean_i sum_{k != y} e^{s_old c_ik} (AdaCos, Zhang et al. 2019).

    The median of an even batch is the lower one. ln(B) is a logsumexp, so large scales do not overflow; s is kept at
    or above `LEAST`.

    Attributes:
        current: scalar buffer, starts at `adacos_scale`; moved in training mode only.
    """

    current: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("current", torch.tensor(adacos_scale(num_classes)))

    def forward(self, embeddings: Tensor) -> Tensor:
        # A copy: the buffer moves before the backward pass of an earlier batch may run.
        return self.current.clone()

    @property
    def observes(self) -> bool:
        return self.training

    @torch.no_grad()
    def observe(self, own: Tensor, log_sum: LogSum) -> None:
        median = angle(own).median().clamp(max=math.pi / 4)
        log_mean = torch.logsumexp(log_sum(self.current.to(own.dtype)), 0) - math.log(len(own))
        self.current.copy_((log_mean / torch.cos(median)).clamp(min=LEAST))

    @property
    def reported(self) -> float:
        return float(self.current)


WORDS = ("norm", "learnable", "adacos", "adacos-fixed", "bound", "clipped-norm")


def make_scale(scale: object, num_classes: int) -> RowScale:
    """The scale that a number or one of `WORDS` stands for.

    Raises:
        InputError: neither a positive number up to 1e6 nor a word.
    """
    if is_finite_number(scale) and 0.0 < float(scale) <= 1e6:  # type: ignore[arg-type]
        return FixedScale(float(scale))  # type: ignore[arg-type]
    if not isinstance(scale, str) or scale not in WORDS:
        words = ", ".join(map(repr, WORDS))
        raise InputError(
            f"scale must be a positive number up to 1e6 or one of {words}, but is {shown(scale)}. "
            f"{hint(scale, WORDS)}".rstrip()
        )
    if scale == "norm":
        return NormScale()
    if scale == "clipped-norm":
        return ClippedNormScale()
    if scale == "learnable":
        return LearnableScale(scale_bound(num_classes))
    if scale == "adacos":
        return AdaCosScale(num_classes)
    return FixedScale(adacos_scale(num_classes) if scale == "adacos-fixed" else scale_bound(num_classes))
