"""What a margin does: the target logit over the angle to the own center, and how hard it pulls there."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.losses import AdaptiveMargin, MarginSoftmaxLoss, margins
from steradian.plots.theme import LIGHT, Theme, legend, own_axes

LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def margined_cosine(loss: MarginSoftmaxLoss, cosine: Tensor) -> Tensor:
    """f(m, theta) of a typical row at the end of annealing, in units of a cosine, differentiable.

    Args:
        cosine: [T] target cosines, float64.
    """
    if loss.margin is None:
        return cosine
    margin = loss.margin.typical() if isinstance(loss.margin, AdaptiveMargin) else loss.margin
    strength = 1.0 if loss.annealing is None else loss.annealing.last_strength
    return margins.apply(margin, cosine, gradient=loss.gradient, strength=strength)


def scored(loss: MarginSoftmaxLoss, cosine: Tensor) -> Tensor:
    """The logit of ``cosine`` (any shape, float64) through the score of the loss, if it has one."""
    return cosine if loss.score is None else copy.deepcopy(loss.score).to(cosine)(cosine)


def target_logit(loss: MarginSoftmaxLoss, cosine: Tensor) -> Tensor:
    """`margined_cosine`, through the score where there is one."""
    return scored(loss, margined_cosine(loss, cosine))


def gradient_factor(loss: MarginSoftmaxLoss, cosine: Tensor) -> Tensor:
    """d target logit / d cos(theta) at ``cosine`` [T], measured by automatic differentiation: 1 without a margin."""
    point = cosine.clone().requires_grad_()
    (slope,) = torch.autograd.grad(target_logit(loss, point).sum(), point)
    return slope


def curve_points(loss: nn.Module, degrees: Sequence[int]) -> list[dict[str, float]]:
    """Target logit and gradient factor at some angles to the own center; nothing for a loss that has no such curve."""
    if not isinstance(loss, MarginSoftmaxLoss):
        return []
    cosine = torch.cos(torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)))
    found = zip(degrees, target_logit(loss, cosine).tolist(), gradient_factor(loss, cosine).tolist(), strict=True)
    return [{"degrees": degree, "target_logit": logit, "gradient_factor": factor} for degree, logit, factor in found]


@dataclass
class TargetLogitDisplay:
    """Target logits f(m, theta), in units of a cosine (or of the score of a loss that has one), over [0, pi].

    Attributes:
        theta: [201] radians.
        logits: name -> [201].
        factors: name -> [201], the slope of the logit in cos(theta).
        names: all losses that were given; their order is that of the colors.
    """

    theta: NDArray[np.float64]
    logits: dict[str, NDArray[np.float64]]
    factors: dict[str, NDArray[np.float64]]
    names: tuple[str, ...]

    @classmethod
    def from_losses(cls, losses: Mapping[str, nn.Module]) -> TargetLogitDisplay:
        """From losses of the softmax family by name; others have no such curve and are left out."""
        theta = torch.linspace(0.0, torch.pi, 201, dtype=torch.float64)
        family = {name: loss for name, loss in losses.items() if isinstance(loss, MarginSoftmaxLoss)}
        logits = {name: target_logit(loss, torch.cos(theta)).detach().numpy() for name, loss in family.items()}
        factors = {name: gradient_factor(loss, torch.cos(theta)).numpy() for name, loss in family.items()}
        return cls(theta.numpy(), logits, factors, tuple(losses))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TargetLogitDisplay:
        """One curve per technique, over degrees."""
        axes = own_axes(ax, theme, 5.6, 3.8)
        self._curves(axes, self.logits, theme)
        axes.axhline(0, color=theme.faint, lw=0.6, zorder=0)
        axes.set_ylabel("target logit f(θ) / s")
        return self

    def plot_factors(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TargetLogitDisplay:
        """How many times as hard as plain softmax each technique pulls towards the own center, on a log scale."""
        axes = own_axes(ax, theme, 5.6, 3.8)
        positive = {name: np.where(factor > 1e-3, factor, np.nan) for name, factor in self.factors.items()}
        self._curves(axes, positive, theme)
        axes.axhline(1, color=theme.faint, lw=0.6, zorder=0)
        axes.set_yscale("log")
        axes.set_ylim(0.05, 100)
        axes.set_ylabel("gradient factor")
        return self

    def _curves(self, axes: Axes, curves: Mapping[str, NDArray[np.float64]], theme: Theme) -> None:
        for name, curve in curves.items():
            index = self.names.index(name)
            axes.plot(
                np.rad2deg(self.theta),
                curve,
                color=theme.color(index, len(self.names)),
                ls=LINES[index % len(LINES)],
                lw=1.8,
                label=name,
            )
        axes.set_xlabel("angle to own center θ (degrees)")
        axes.set_xlim(0, 180)
        if curves:
            legend(axes, theme)
        else:
            axes.text(0.5, 0.5, "no margins", color=theme.ink, ha="center", transform=axes.transAxes)
        self.ax_, self.figure_ = axes, axes.figure
