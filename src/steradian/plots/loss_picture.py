"""One loss of the softmax family in three panels: target logit, gradient factor, decision boundary."""

from __future__ import annotations

from steradian.losses import MarginSoftmaxLoss
from steradian.plots.boundaries import DecisionBoundaryDisplay
from steradian.plots.margins import TargetLogitDisplay
from steradian.plots.theme import Picture, small_multiples


def loss_picture(name: str, loss: MarginSoftmaxLoss) -> Picture:
    """The loss beside plain cosine; adaptive margins are drawn for a row in the middle of their range."""
    plain = MarginSoftmaxLoss(loss.num_classes, loss.embedding_size)
    curves = TargetLogitDisplay.from_losses({"plain cosine": plain, name: loss})
    boundary = DecisionBoundaryDisplay.from_loss(loss)
    panels = {
        "target logit": curves.plot,
        "gradient factor": curves.plot_factors,
        "two classes": boundary.plot,
    }
    words = f"{name}: target logit and gradient factor over the angle, and the decision boundary between two classes"
    return small_multiples(panels, words, height=3.0)
