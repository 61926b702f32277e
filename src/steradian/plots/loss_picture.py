"""Plot the decision boundary of a loss between two classes, alone or beside its other curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from numpy.typing import NDArray
from torch import nn

from steradian.errors import InputError, UsageError
from steradian.files import atomic_file
from steradian.losses import MarginSoftmaxLoss, Preset, typical_dials
from steradian.plots.margins import TargetLogitDisplay
from steradian.plots.theme import LIGHT, Display, Picture, Theme, own_axes, small_multiples


@dataclass
class DecisionBoundaryDisplay(Display):
    """Training decision boundaries for images of class 1 and of class 2, over the angles to both class centers.

    Attributes:
        theta: [181] radians, the values of both axes.
        lead: [181, 181], target logit minus wrong logit for an image of class 1, in units of a cosine (or of the
            score); row: angle to center 2, column: angle to center 1. For class 2 it is the transpose.
        scale: factor from leads to logits.
    """

    theta: NDArray[np.float64]
    lead: NDArray[np.float64]
    scale: float

    @classmethod
    def from_loss(cls, loss: nn.Module, scale: float = 8.0) -> DecisionBoundaryDisplay:
        """Create from a loss of the softmax family, with its margin, emphasis and score; a score replaces ``scale``.

        Raises:
            InputError: the loss is of another kind.
        """
        theta = torch.linspace(0.0, torch.pi, 181, dtype=torch.float64)
        dials = typical_dials(loss, theta)
        if dials is None:
            raise InputError(f"a decision boundary needs a loss of the softmax family, but got {type(loss).__name__}.")
        with torch.no_grad():
            wrong = torch.cos(theta)[None, :].expand(181, 181)
            target = dials.target(torch.cos(theta))[:, None]
            lead = dials.scored(target) - dials.scored(dials.wrong(wrong, target))
        return cls(theta.numpy(), lead.T.numpy(), scale if dials.score is None else 1.0)

    def plot(self, ax: Axes | None = None, theme: Theme = LIGHT) -> DecisionBoundaryDisplay:
        """Shade the probability of class 1 for its images, and draw the line where it is 1/2 for either class."""
        axes = own_axes(ax, theme, 3.6, 3.4)
        degrees = np.rad2deg(self.theta)
        shade = LinearSegmentedColormap.from_list("shade", [to_rgb(theme.paper), theme.color(0)])
        probability = 1.0 / (1.0 + np.exp(-self.scale * self.lead))
        axes.pcolormesh(
            degrees, degrees, probability, cmap=shade, vmin=0, vmax=1.15, shading="nearest", rasterized=True
        )
        for lead, index, line in ((self.lead, 0, "-"), (self.lead.T, 2, "--")):
            axes.contour(degrees, degrees, lead, levels=[0.0], colors=[theme.color(index)], linestyles=[line])
        axes.plot([0, 180], [0, 180], color=theme.ink, lw=0.7, ls=":")
        axes.set(xlim=(0, 180), ylim=(0, 180), xticks=(0, 90, 180), yticks=(0, 90, 180), aspect="equal")
        axes.set(xlabel="angle to center 1 (degrees)", ylabel="angle to center 2 (degrees)")
        return self._drawn_on(axes)


def loss_picture(name: str, loss: nn.Module) -> Picture:
    """Draw the loss beside plain cosine; an adaptive margin is drawn for a typical sample (middle of its range)."""
    plain = MarginSoftmaxLoss(3, 4)
    curves = TargetLogitDisplay.from_losses({"plain cosine": plain, name: loss})
    boundary = DecisionBoundaryDisplay.from_loss(loss)
    panels = {"target logit": curves.plot, "gradient factor": curves.plot_factors, "two classes": boundary.plot}
    alt_text = f"{name}: target logit and gradient factor over the angle, and the decision boundary between two classes"
    return small_multiples(panels, alt_text, height=3.0)


def write_loss_picture(preset: Preset, path: Path) -> None:
    """Draw the curves of a preset into ``path``, a .png.

    Raises:
        UsageError: another suffix, or a loss that is not a function of one angle.
    """
    loss = preset.build(3, 4, {})
    if typical_dials(loss, torch.zeros(1)) is None:
        raise UsageError(
            f"{preset.name!r} is not a function of one angle, so it has no curve to draw. Its formula: {preset.formula}"
        )
    if path.suffix != ".png":
        raise UsageError(f"--out must end in .png, but is {path.name!r}.")
    with atomic_file(path) as temporary:
        temporary.write_bytes(loss_picture(preset.name, loss).light)
