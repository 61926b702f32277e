"""Margins that differ from row to row: by the embedding's norm, by chance, by the size of the class.

Each of them turns a batch into a plain margin with one number a row; everything else is as in `margins`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from steradian.errors import InputError
from steradian.losses.angles import continued_cosine, continued_sine
from steradian.losses.margins import (
    PAST_PI,
    PAST_PI_ADDITIVE,
    AdditiveAngle,
    AdditiveCosine,
    Margin,
    PastPi,
    PastPiAdditive,
)
from steradian.losses.ranges import flag, in_range, one_of

ElasticVariant = Literal["plain", "plus"]


@runtime_checkable
class AdaptiveMargin(Protocol):
    """A margin that is made anew for each batch.

    ``learned`` says whether a gradient flows through its numbers.
    """

    learned: ClassVar[bool]

    def typical(self) -> Margin:
        """The margin of a row in the middle of the range: for pictures."""
        ...

    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        """The margin of this batch, in training mode.

        Args:
            norms: [N, 1] Euclidean norms of the embeddings.
            labels: [N] int64.
            cosine: [N, 1] target cosines.
        """
        ...


@dataclass(frozen=True)
class MagneticAngle:
    """ArcFace with a margin that grows with the norm a (MagFace, Meng et al. 2021).

    m(a) = (u_m - l_m) / (u_a - l_a) (a - l_a) + l_m, with a kept in [l_a, u_a]. Its partner is
    `penalties.NormReward`, which pulls the norm up.

    Args:
        l_a, u_a: norms, 0 < l_a < u_a.
        l_m, u_m: margins in radians, [0, pi].
        past_pi, easy_margin: as in `AdditiveAngle`; the release uses easy_margin=True.
    """

    learned: ClassVar[bool] = True
    l_a: float = 10.0
    u_a: float = 110.0
    l_m: float = 0.45
    u_m: float = 0.8
    past_pi: PastPiAdditive = "extend"
    easy_margin: bool = False

    def __post_init__(self) -> None:
        in_range("l_a", self.l_a, 1e-6, 1e6, "a norm")
        in_range("u_a", self.u_a, 1e-6, 1e6, "a norm")
        if self.u_a <= self.l_a:
            raise InputError(f"u_a must be above l_a, but they are {self.u_a!r} and {self.l_a!r}.")
        in_range("l_m", self.l_m, 0.0, math.pi, "radians")
        in_range("u_m", self.u_m, self.l_m, math.pi, "radians, at least l_m")
        one_of("past_pi", self.past_pi, PAST_PI_ADDITIVE)
        flag("easy_margin", self.easy_margin)

    def typical(self) -> Margin:
        return AdditiveAngle((self.l_m + self.u_m) / 2, self.past_pi, self.easy_margin)

    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        slope = (self.u_m - self.l_m) / (self.u_a - self.l_a)
        margin = slope * (norms.clamp(self.l_a, self.u_a) - self.l_a) + self.l_m
        return AdditiveAngle(margin, self.past_pi, self.easy_margin)


@dataclass(frozen=True, eq=False)
class _AngleAndCosine:
    """f = cos(theta + angle) - cosine, each a tensor [N, 1]; the angle may be negative."""

    angle: Tensor
    cosine: Tensor
    past_pi: PastPi

    def logit(self, theta: Tensor) -> Tensor:
        return continued_cosine(theta + self.angle, self.past_pi) - self.cosine

    def derivative(self, theta: Tensor) -> Tensor:
        return -continued_sine(theta + self.angle, self.past_pi)


class QualityMargin(nn.Module):
    """AdaFace (Kim et al. 2022): the norm, standardized over the batches, decides between the margins.

    z = clip((n - mean) / (std + 1e-3) h, -1, 1) with n = clip(|x|, 0.001, 100) and no gradient;
    f = cos(theta - margin z) - (margin + margin z). z = -1 is ArcFace(margin), 0 CosFace(margin).

    The release keeps theta - margin z in [1e-3, pi - 1e-3] to spare itself infinite gradients; here
    "clamp" keeps it in [0, pi], which needs no such guard.

    Args:
        margin: [0, pi / 2].
        h: how far one standard deviation moves z, [0, 10]; 0 is CosFace.
        t_alpha: weight of a batch in the running mean and std; 1 keeps no memory.
        past_pi: "clamp" as published, "extend" or "plain".

    Attributes:
        norm_mean, norm_std: buffers, start at 20 and 100; moved in training mode only.
    """

    learned: ClassVar[bool] = False
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(self, margin: float = 0.4, h: float = 0.333, t_alpha: float = 0.01, past_pi: PastPi = "clamp") -> None:
        super().__init__()
        in_range("margin", margin, 0.0, math.pi / 2, "radians and of a cosine")
        in_range("h", h, 0.0, 10.0, "a factor")
        in_range("t_alpha", t_alpha, 0.0, 1.0, "a share")
        one_of("past_pi", past_pi, PAST_PI)
        self.margin, self.h, self.t_alpha, self.past_pi = margin, h, t_alpha, past_pi
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_std", torch.tensor(100.0))

    def typical(self) -> Margin:
        return AdditiveCosine(self.margin)

    @torch.no_grad()
    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        sizes = norms.clamp(1e-3, 100.0)
        if self.training:
            self.norm_mean.lerp_(sizes.mean().to(self.norm_mean.dtype), self.t_alpha)
        if self.training and len(sizes) > 1:
            # One row has no spread; the running value stays.
            self.norm_std.lerp_(sizes.std().to(self.norm_std.dtype), self.t_alpha)
        quality = ((sizes - self.norm_mean) / (self.norm_std + 1e-3) * self.h).clamp(-1.0, 1.0)
        return _AngleAndCosine(-self.margin * quality, self.margin + self.margin * quality, self.past_pi)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, h={self.h}, t_alpha={self.t_alpha}"


def _elastic_check(margin: float, high: float, std: float, variant: str) -> None:
    in_range("margin", margin, 0.0, high, "the mean margin")
    in_range("std", std, 0.0, 1.0, "spread of the margin")
    one_of("variant", variant, ("plain", "plus"))


def _drawn(margin: float, std: float, variant: str, cosine: Tensor) -> Tensor:
    """One margin a row, from N(margin, std); "plus" gives the largest to the smallest cosine."""
    drawn = margin + std * torch.randn_like(cosine)
    if variant == "plain":
        return drawn
    hardest_last = cosine.detach().argsort(dim=0, descending=True)
    return torch.empty_like(drawn).scatter_(0, hardest_last, drawn.sort(dim=0).values)


@dataclass(frozen=True)
class ElasticAngle:
    """ArcFace with a margin drawn from N(margin, std) for each row (ElasticFace-Arc, Boutros et al. 2022).

    ``variant`` "plus" hands the largest margins to the rows farthest from their center. std 0 is ArcFace.
    """

    learned: ClassVar[bool] = False
    margin: float = 0.5
    std: float = 0.05
    variant: ElasticVariant = "plain"
    past_pi: PastPiAdditive = "extend"

    def __post_init__(self) -> None:
        _elastic_check(self.margin, math.pi, self.std, self.variant)
        one_of("past_pi", self.past_pi, PAST_PI_ADDITIVE)

    def typical(self) -> Margin:
        return AdditiveAngle(self.margin, self.past_pi)

    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        return AdditiveAngle(_drawn(self.margin, self.std, self.variant, cosine), self.past_pi)


@dataclass(frozen=True)
class ElasticCosine:
    """CosFace with a margin drawn from N(margin, std) for each row (ElasticFace-Cos, Boutros et al. 2022)."""

    learned: ClassVar[bool] = False
    margin: float = 0.35
    std: float = 0.05
    variant: ElasticVariant = "plain"

    def __post_init__(self) -> None:
        _elastic_check(self.margin, 2.0, self.std, self.variant)

    def typical(self) -> Margin:
        return AdditiveCosine(self.margin)

    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        return AdditiveCosine(_drawn(self.margin, self.std, self.variant, cosine))


class ClassSizeAngle(nn.Module):
    """ArcFace with a margin for each class: rare classes get more (Ha et al. 2020, landmark recognition).

    With n_c images, t_c = n_c^(-1/4) and margin_c = m_min + (m_max - m_min) (t_c - min t) / (max t - min t).
    Classes of one size, or no counts at all, get m_max.

    Args:
        num_classes: C.
        class_counts: C numbers of images, each at least 1; None: all alike.
        m_min, m_max: margins in radians of the largest and of the smallest class, [0, pi].
        past_pi: as in `AdditiveAngle`.

    Attributes:
        margins: [C] buffer in radians.
    """

    learned: ClassVar[bool] = False
    margins: Tensor

    def __init__(
        self,
        num_classes: int,
        class_counts: Sequence[int] | None = None,
        m_min: float = 0.05,
        m_max: float = 0.5,
        past_pi: PastPiAdditive = "extend",
    ) -> None:
        super().__init__()
        in_range("m_min", m_min, 0.0, math.pi, "radians")
        in_range("m_max", m_max, m_min, math.pi, "radians, at least m_min")
        one_of("past_pi", past_pi, PAST_PI_ADDITIVE)
        self.past_pi: PastPiAdditive = past_pi
        # On the CPU whatever the default device: a model whose shapes alone are wanted is built without memory.
        counts = _counts(class_counts, num_classes)
        rarity = counts.double().pow(-0.25)
        span = rarity.max() - rarity.min()
        share = (rarity - rarity.min()) / span if span > 0 else torch.ones_like(rarity)
        self.register_buffer("margins", (m_min + (m_max - m_min) * share).to(torch.get_default_dtype()))

    def typical(self) -> Margin:
        return AdditiveAngle(float(self.margins.median()), self.past_pi)

    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        return AdditiveAngle(self.margins[labels][:, None].to(cosine.dtype), self.past_pi)


def _counts(class_counts: Sequence[int] | None, num_classes: int) -> Tensor:
    """The counts as [C] floats; ones for None."""
    if class_counts is None:
        return torch.ones(num_classes, device="cpu")
    wanted = f"class_counts must hold the number of images, at least 1, of each of the {num_classes} classes"
    try:
        counts = torch.as_tensor(class_counts, device="cpu").double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{wanted}, but is {repr(class_counts)[:80]}.") from error
    if counts.shape != (num_classes,):
        raise InputError(f"{wanted}, but has shape {list(counts.shape)}.")
    wrong = torch.nonzero(~((counts >= 1) & torch.isfinite(counts)))
    if len(wrong):
        raise InputError(f"{wanted}, but class {int(wrong[0])} has {counts[wrong[0]].item():g}.")
    return counts
