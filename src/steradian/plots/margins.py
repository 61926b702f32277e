"""What a margin does: the target logit as a function of the angle to the own center."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor, nn

from steradian.losses import AdaptiveMargin, MarginSoftmaxLoss
from steradian.plots.theme import LIGHT, Theme, legend, own_axes


def target_logit(loss: MarginSoftmaxLoss, theta: Tensor) -> Tensor:
    """f(m, theta) of a typical row at ``theta`` [T] radians, in units of a cosine."""
    if loss.margin is None:
        return torch.cos(theta)
    margin = loss.margin.typical() if isinstance(loss.margin, AdaptiveMargin) else loss.margin
    return margin.logit(theta)


LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


@dataclass
class TargetLogitDisplay:
    """Target logits f(m, theta), in units of a cosine, over [0, pi].

    Attributes:
        theta: [201] radians.
        logits: name -> [201].
        names: all losses that were given; their order is that of the colors.
    """

    theta: NDArray[np.float64]
    logits: dict[str, NDArray[np.float64]]
    names: tuple[str, ...]

    @classmethod
    def from_losses(cls, losses: Mapping[str, nn.Module]) -> TargetLogitDisplay:
        """From losses of the softmax family by name; others have no such curve and are left out."""
        theta = torch.linspace(0.0, torch.pi, 201, dtype=torch.float64)
        curves = {}
        for name, loss in losses.items():
            if isinstance(loss, MarginSoftmaxLoss):
                curves[name] = target_logit(loss, theta).numpy()
        return cls(theta.numpy(), curves, tuple(losses))

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> TargetLogitDisplay:
        """One curve per technique, over degrees."""
        axes = own_axes(ax, theme, 5.6, 3.8)
        for name, curve in self.logits.items():
            index = self.names.index(name)
            axes.plot(
                np.rad2deg(self.theta),
                curve,
                color=theme.color(index, len(self.names)),
                ls=LINES[index % len(LINES)],
                lw=1.8,
                label=name,
            )
        axes.axhline(0, color=theme.faint, lw=0.6, zorder=0)
        axes.set_xlabel("angle to own center θ (degrees)")
        axes.set_ylabel("target logit f(θ) / s")
        axes.set_xlim(0, 180)
        if self.logits:
            legend(axes, theme)
        else:
            axes.text(0.5, 0.5, "no margins", color=theme.ink, ha="center", transform=axes.transAxes)
        self.ax_, self.figure_ = axes, axes.figure
        return self
