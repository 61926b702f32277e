"""Draw one loss of the softmax family in three panels: target logit, gradient factor, decision boundary."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from steradian.errors import UsageError
from steradian.files import atomic_file
from steradian.losses import MarginSoftmaxLoss, Preset, typical_dials
from steradian.plots.boundaries import DecisionBoundaryDisplay
from steradian.plots.margins import TargetLogitDisplay
from steradian.plots.theme import Picture, small_multiples


def loss_picture(name: str, loss: nn.Module) -> Picture:
    """Draw the loss beside plain cosine; an adaptive margin is drawn for a typical sample (middle of its range)."""
    plain = MarginSoftmaxLoss(3, 4)
    curves = TargetLogitDisplay.from_losses({"plain cosine": plain, name: loss})
    boundary = DecisionBoundaryDisplay.from_loss(loss)
    panels = {
        "target logit": curves.plot,
        "gradient factor": curves.plot_factors,
        "two classes": boundary.plot,
    }
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
