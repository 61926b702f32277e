"""Plot the effect of a margin: target logit and gradient factor over the angle to the own class center."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.losses import Dials, typical_dials
from steradian.plots.theme import LIGHT, Display, Theme, legend, own_axes


def gradient_factor(dials: Dials, cosine: Tensor) -> Tensor:
    """Return d target logit / d cos(theta) at ``cosine`` [T], by automatic differentiation: 1 without a margin."""
    point = cosine.clone().requires_grad_()
    (slope,) = torch.autograd.grad(dials.scored(dials.target(point)).sum(), point)
    return slope


def curve_points(loss: nn.Module, degrees: Sequence[int]) -> list[dict[str, float]]:
    """Return target logit and gradient factor at some angles to the own center; nothing for a loss without margin."""
    cosine = torch.cos(torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)))
    dials = typical_dials(loss, cosine)
    if dials is None:
        return []
    logits = dials.scored(dials.target(cosine)).tolist()
    points = zip(degrees, logits, gradient_factor(dials, cosine).tolist(), strict=True)
    return [{"degrees": degree, "target_logit": logit, "gradient_factor": factor} for degree, logit, factor in points]


@dataclass
class TargetLogitDisplay(Display):
    """Target logits f(m, theta), in units of a cosine (or of the score of a loss that has one), over [0, pi].

    Attributes:
        theta: [201] radians.
        logits: name -> [201].
        factors: name -> [201], the slope of the logit with respect to cos(theta).
        names: all given losses, in the order of the colors.
    """

    theta: NDArray[np.float64]
    logits: dict[str, NDArray[np.float64]]
    factors: dict[str, NDArray[np.float64]]
    names: tuple[str, ...]

    @classmethod
    def from_losses(cls, losses: Mapping[str, nn.Module]) -> TargetLogitDisplay:
        """Create from losses by name; only losses of the softmax family have such a curve, others are left out."""
        theta = torch.linspace(0.0, torch.pi, 201, dtype=torch.float64)
        cosine = torch.cos(theta)
        known = {name: typical_dials(loss, cosine) for name, loss in losses.items()}
        family = {name: dials for name, dials in known.items() if dials is not None}
        logits = {name: dials.scored(dials.target(cosine)).detach().numpy() for name, dials in family.items()}
        factors = {name: gradient_factor(dials, cosine).numpy() for name, dials in family.items()}
        return cls(theta.numpy(), logits, factors, tuple(losses))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TargetLogitDisplay:
        """Draw one curve per technique, over degrees."""
        axes = own_axes(ax, theme, 5.6, 3.8)
        axes.axhline(0, color=theme.faint, lw=0.6, zorder=0)
        axes.set_ylabel("target logit f(θ) / s")
        return self._curves(axes, self.logits, theme)

    def plot_factors(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TargetLogitDisplay:
        """Draw the gradient towards the own center, relative to plain softmax, on a log scale."""
        axes = own_axes(ax, theme, 5.6, 3.8)
        positive = {name: np.where(factor > 1e-3, factor, np.nan) for name, factor in self.factors.items()}
        axes.axhline(1, color=theme.faint, lw=0.6, zorder=0)
        axes.set(yscale="log", ylim=(0.05, 100), ylabel="gradient factor")
        return self._curves(axes, positive, theme)

    def _curves(self, axes: Axes, curves: Mapping[str, NDArray[np.float64]], theme: Theme) -> TargetLogitDisplay:
        for name, curve in curves.items():
            line = theme.line(self.names.index(name), len(self.names))
            axes.plot(np.rad2deg(self.theta), curve, lw=1.8, label=name, **line)
        axes.set(xlabel="angle to own center θ (degrees)", xlim=(0, 180))
        if curves:
            legend(axes, theme)
        else:
            axes.text(0.5, 0.5, "no margins", color=theme.ink, ha="center", transform=axes.transAxes)
        return self._drawn_on(axes)
