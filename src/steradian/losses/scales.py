"""The scale s of the logits: a number, the norm, learned, or computed from the number of classes or the batch."""

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
"""s, a scalar -> logsumexp_{k != y} s c_ik, [N], over the wrong-class cosines of a batch."""

Scale = float | Literal["norm", "learnable", "adacos", "adacos-fixed", "bound", "clipped-norm"]

LEAST = 1.0
"""Lower limit of computed scales: with two classes AdaCos would be 0 or negative."""


def scale_bound(num_classes: int, probability: float = 0.99) -> float:
    """Return the least s at which a perfect embedding reaches ``probability``: (C-1)/C ln((C-1)P/(1-P)).

    This is the bound of CosFace (2018), with centers at the simplex angle. The result is at least `LEAST`.

    Raises:
        InputError: ``probability`` is not inside (0, 1).
    """
    return max(LEAST, scale_for(num_classes, probability, angle_margin_bound(num_classes, num_classes)))


def scale_for(num_classes: int, probability: float, spacing: float) -> float:
    """Return s with s (1 - cos spacing) = ln((C - 1) P / (1 - P)): `scale_bound` for any spacing, without lower limit.

    With all wrong centers at ``spacing`` radians, an image at its own center then has ``probability``.
    """
    in_range("probability", probability, 1e-12, 1.0 - 1e-12, "inside (0, 1)")
    return math.log(max(1, num_classes - 1) * probability / (1.0 - probability)) / (1.0 - math.cos(spacing))


def adacos_scale(num_classes: int) -> float:
    """Return sqrt(2) ln(C - 1), at least `LEAST` (AdaCos, Zhang et al. 2019)."""
    return max(LEAST, math.sqrt(2.0) * math.log(max(1, num_classes - 1)))


class RowScale(nn.Module):
    """The scale s: one number for all rows, or one per row [N, 1]."""

    def forward(self, embeddings: Tensor) -> Tensor | float:
        """Return s for the raw embeddings [N, D]."""
        raise NotImplementedError

    def observe(self, target: Tensor, log_sum: LogSum) -> None:
        """In training mode, update the scale from the target and wrong cosines of a batch, before it is used."""

    @property
    def reported(self) -> float | str:
        """The value of ``loss.scale``: the current number, or the name of the scale."""
        raise NotImplementedError


class FixedScale(RowScale):
    """A constant number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = float(value)

    def forward(self, embeddings: Tensor) -> float:
        return self.value

    @property
    def reported(self) -> float:
        return self.value


class NormScale(RowScale):
    """|x|: the norm of the embedding (softmax, SphereFace)."""

    reported = "norm"

    def forward(self, embeddings: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        return norms


class ClippedNormScale(RowScale):
    """clip(R |x|, 1, 1e9) with one learned R, initially 1 (system A's second score)."""

    reported = "clipped-norm"

    def __init__(self) -> None:
        super().__init__()
        self.ratio = nn.Parameter(torch.tensor(1.0))

    def forward(self, embeddings: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        clipped: Tensor = (self.ratio * norms).clamp(1.0, 1e9)
        return clipped


class LearnableScale(RowScale):
    """One learned number (NormFace, Wang et al. 2017), stored as its logarithm so that it stays positive."""

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

    A batch of even size uses the lower median. ln(B) is a logsumexp, so large scales do not overflow; s is at
    least `LEAST`.

    Attributes:
        current: scalar buffer, initially `adacos_scale`; updated in training mode only.
    """

    current: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("current", torch.tensor(adacos_scale(num_classes)))

    def forward(self, embeddings: Tensor) -> Tensor:
        # A copy, because the buffer may change before the backward pass of an earlier batch runs.
        return self.current.clone()

    @torch.no_grad()
    def observe(self, target: Tensor, log_sum: LogSum) -> None:
        if not self.training:
            return
        median = angle(target).median().clamp(max=math.pi / 4)
        log_mean = torch.logsumexp(log_sum(self.current.to(target.dtype)), 0) - math.log(len(target))
        self.current.copy_((log_mean / torch.cos(median)).clamp(min=LEAST))

    @property
    def reported(self) -> float:
        return float(self.current)


SCALES: dict[str, Callable[[int], RowScale]] = {
    "norm": lambda num_classes: NormScale(),
    "learnable": lambda num_classes: LearnableScale(scale_bound(num_classes)),
    "adacos": AdaCosScale,
    "adacos-fixed": lambda num_classes: FixedScale(adacos_scale(num_classes)),
    "bound": lambda num_classes: FixedScale(scale_bound(num_classes)),
    "clipped-norm": lambda num_classes: ClippedNormScale(),
}


def make_scale(scale: object, num_classes: int) -> RowScale:
    """Return the scale module for a number or one of `SCALES`, or raise `InputError`."""
    if is_finite_number(scale) and 0.0 < float(scale) <= 1e6:  # type: ignore[arg-type]
        return FixedScale(float(scale))  # type: ignore[arg-type]
    if not isinstance(scale, str) or scale not in SCALES:
        expected = f"a positive number up to 1e6 or one of {', '.join(map(repr, SCALES))}"
        raise InputError(f"scale must be {expected}, but is {shown(scale)}. {hint(scale, SCALES)}".rstrip())
    return SCALES[scale](num_classes)
