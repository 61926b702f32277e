"""Margins that differ per sample: they depend on the embedding's norm, on chance, or on the class size.

Each computes one margin value per row of a batch and puts the values into a margin from `margins`.
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
    """A margin that is recomputed for each batch.

    ``learned`` tells whether a gradient flows through the margin values.
    """

    learned: ClassVar[bool]

    def typical(self) -> Margin:
        """Return a typical (mid-range) margin, for plots and warnings."""

    def for_batch(self, norms: Tensor, labels: Tensor, cosine: Tensor) -> Margin:
        """Return the margin for this batch, in training mode.

        Args:
            norms: [N, 1] Euclidean norms of the embeddings.
            labels: [N] int64.
            cosine: [N, 1] target cosines.
        """


@dataclass(frozen=True)
class MagFaceMargin:
    """ArcFace with a margin that grows with the norm a (MagFace, Meng et al. 2021).

    m(a) = (u_m - l_m) / (u_a - l_a) (a - l_a) + l_m, with a clamped to [l_a, u_a]. It is used
    together with `penalties.NormReward`, which rewards larger norms.

    Args:
        l_a, u_a: norms, 0 < l_a < u_a.
        l_m, u_m: margins in radians, [0, pi].
        past_pi, easy_margin: as in `AdditiveAngle`; the authors' code uses easy_margin=True.
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


class AdaFaceMargin(nn.Module):
    """AdaFace (Kim et al. 2022): the standardized norm interpolates between margin types.

    z = clip((n - mean) / (std + 1e-3) h, -1, 1) with n = clip(|x|, 0.001, 100) and no gradient;
    f = cos(theta - margin z) - (margin + margin z). z = -1 gives ArcFace(margin), z = 0 gives CosFace(margin).

    The authors' code clamps theta - margin z to [1e-3, pi - 1e-3] to avoid infinite gradients. Here "clamp"
    uses [0, pi], because the gradient stays finite there.

    Args:
        margin: [0, pi / 2].
        h: change of z per standard deviation of the norm, [0, 10]; 0 gives CosFace.
        t_alpha: weight of the current batch in the running mean and std; 1 uses the current batch only.
        past_pi: "clamp" as published, "extend" or "plain".

    Attributes:
        norm_mean, norm_std: buffers, initially 20 and 100; updated in training mode only.
    """

    learned: ClassVar[bool] = False
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(self, margin: float = 0.4, h: float = 0.333, t_alpha: float = 0.01, past_pi: PastPi = "clamp") -> None:
        super().__init__()
        in_range("margin", margin, 0.0, math.pi / 2, "radians and cosine units")
        in_range("h", h, 0.0, 10.0, "a factor")
        in_range("t_alpha", t_alpha, 0.0, 1.0, "a fraction")
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
            # The std of one row is undefined: keep the running value.
            self.norm_std.lerp_(sizes.std().to(self.norm_std.dtype), self.t_alpha)
        quality = ((sizes - self.norm_mean) / (self.norm_std + 1e-3) * self.h).clamp(-1.0, 1.0)
        return _AngleAndCosine(-self.margin * quality, self.margin + self.margin * quality, self.past_pi)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, h={self.h}, t_alpha={self.t_alpha}"


def _elastic_check(margin: float, high: float, std: float, variant: str) -> None:
    in_range("margin", margin, 0.0, high, "the mean margin")
    in_range("std", std, 0.0, 1.0, "standard deviation of the margin")
    one_of("variant", variant, ("plain", "plus"))


def _draw_margins(margin: float, std: float, variant: str, cosine: Tensor) -> Tensor:
    """Draw one margin per row from N(margin, std); "plus" assigns the largest margins to the smallest cosines."""
    drawn = margin + std * torch.randn_like(cosine)
    if variant == "plain":
        return drawn
    hardest_last = cosine.detach().argsort(dim=0, descending=True)
    return torch.empty_like(drawn).scatter_(0, hardest_last, drawn.sort(dim=0).values)


@dataclass(frozen=True)
class ElasticArcMargin:
    """ArcFace with a margin drawn from N(margin, std) for each row (ElasticFace-Arc, Boutros et al. 2022).

    ``variant`` "plus" assigns the largest margins to the rows farthest from their center. std=0 gives ArcFace.
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
        return AdditiveAngle(_draw_margins(self.margin, self.std, self.variant, cosine), self.past_pi)


@dataclass(frozen=True)
class ElasticCosMargin:
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
        return AdditiveCosine(_draw_margins(self.margin, self.std, self.variant, cosine))


class ClassSizeAngle(nn.Module):
    """ArcFace with one margin per class, larger for rare classes (Ha et al. 2020, landmark recognition).

    With n_c images, t_c = n_c^(-1/4) and margin_c = m_min + (m_max - m_min) (t_c - min t) / (max t - min t).
    If all counts are equal or none are given, every class gets m_max.

    Args:
        num_classes: C.
        class_counts: number of images of each of the C classes, each at least 1; None: all equal.
        m_min, m_max: margins in radians of the largest and the smallest class, [0, pi].
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
        # Always on the CPU, also when the default device is "meta" (a model built for its shapes only).
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
    """Return the counts as floats [C]; ones for None."""
    if class_counts is None:
        return torch.ones(num_classes, device="cpu")
    expected = f"class_counts must hold the number of images, at least 1, of each of the {num_classes} classes"
    try:
        counts = torch.as_tensor(class_counts, device="cpu").double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{expected}, but is {repr(class_counts)[:80]}.") from error
    if counts.shape != (num_classes,):
        raise InputError(f"{expected}, but has shape {list(counts.shape)}.")
    invalid = torch.nonzero(~((counts >= 1) & torch.isfinite(counts)))
    if len(invalid):
        raise InputError(f"{expected}, but class {int(invalid[0])} has {counts[invalid[0]].item():g}.")
    return counts
