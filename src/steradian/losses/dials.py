"""The dials of the softmax family, written once: what happens to a cosine on its way to a logit.

The dense way applies them to the whole N x C matrix, the tiled way to one tile at a time, the pictures to a curve.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from steradian.losses import margins
from steradian.losses.adaptive import AdaptiveMargin
from steradian.losses.emphasis import Emphasis, Observer
from steradian.losses.margins import Gradient, Margin
from steradian.losses.scales import LogSum, RowScale


def emphasized(emphasis: Emphasis | None, cosine: Tensor, target: Tensor | None) -> Tensor:
    """Rewrite wrong-class cosines [N, c], given target logits [N, 1]; without an emphasis or target, change nothing."""
    return cosine if emphasis is None or target is None else emphasis(cosine, target)


def scaled(
    score: Tensor, scale: Tensor | float | None, lengths: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Return scale * score * |W_j| + b_j; None leaves a factor or the bias out."""
    logits = score if scale is None else score * scale
    logits = logits if lengths is None else logits * lengths
    return logits if bias is None else logits + bias


@dataclass(frozen=True, eq=False)
class Dials:
    """Margin, emphasis, score and scale as they stand in one step.

    Attributes:
        margin: f(m, theta), or None for cos(theta).
        emphasis: rewrites wrong-class cosines, or None.
        score: maps cosines to unscaled logits, or None for the identity.
        row_scale: s.
        gradient: "exact" or "detached" (see `margins.apply`).
        strength: share of the margin that applies, [0, 1].
        scale_strength: share of the scale that applies, (0, 1].
        learned: whether a gradient flows through the numbers of the margin.
    """

    margin: Margin | AdaptiveMargin | None
    emphasis: Emphasis | None
    score: nn.Module | None
    row_scale: RowScale
    gradient: Gradient = "exact"
    strength: float | Tensor = 1.0
    scale_strength: float = 1.0
    learned: bool = False

    def observe(self, own: Tensor, log_sum: LogSum) -> None:
        """Let the stateful dials see the target cosines [N, 1] of a batch, detached, and its wrong cosines."""
        self.row_scale.observe(own, log_sum)
        if isinstance(self.emphasis, Observer):
            self.emphasis.observe(own)

    def for_batch(self, embeddings: Tensor, labels: Tensor, own: Tensor) -> Dials:
        """Return the dials with an adaptive margin replaced by the margin of this batch (target cosines [N, 1])."""
        if not isinstance(self.margin, AdaptiveMargin):
            return self
        norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        return replace(self, margin=self.margin.for_batch(norms, labels, own), learned=self.margin.learned)

    def typical(self, like: Tensor) -> Dials:
        """Return the dials of a typical row, in the dtype of ``like``: for pictures."""
        margin = self.margin.typical() if isinstance(self.margin, AdaptiveMargin) else self.margin
        score = None if self.score is None else copy.deepcopy(self.score).to(like)
        return replace(self, margin=margin, score=score)

    def target(self, own: Tensor) -> Tensor:
        """Return target logits f(m, theta_y), in units of a cosine, from target cosines of any shape."""
        if self.margin is None:
            return own
        if isinstance(self.margin, AdaptiveMargin):
            raise TypeError("an adaptive margin must be resolved by for_batch or typical first")
        return margins.apply(self.margin, own, gradient=self.gradient, strength=self.strength, learned=self.learned)

    def wrong(self, cosine: Tensor, target: Tensor) -> Tensor:
        """Return wrong-class logits in units of a cosine, from cosines [N, c] and target logits [N, 1]."""
        return emphasized(self.emphasis, cosine, target)

    def scored(self, cosine: Tensor) -> Tensor:
        """Return unscaled logits of (margined, emphasized) cosines of any shape."""
        if self.score is None:
            return cosine
        logits: Tensor = self.score(cosine)
        return logits

    def scale(self, embeddings: Tensor) -> Tensor | float:
        """Return s of the raw embeddings [N, D]: a number, or one a row [N, 1]."""
        scale: Tensor | float = self.row_scale(embeddings)
        return scale if self.scale_strength == 1.0 else scale * self.scale_strength
