"""UNPG: use the cosines of different-class image pairs as additional negatives of every row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from steradian.losses.cosines import unit_rows
from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.margins import AdditiveAngle, AdditiveCosine
from steradian.losses.ranges import in_range, one_of


class UnifiedNegativesLoss(MarginSoftmaxLoss):
    """CosFace or ArcFace whose negatives include the negative pairs of the batch (UNPG, Jung et al. 2022).

    The sum over wrong classes also includes e^{s s_n}. The s_n are the cosines between images of different classes,
    each pair once, limited to [Q1 - wisk IQR, Q3 + wisk IQR] to drop outliers. They are the same for every row, so
    their sum is computed once: N^2 / 2 cosines instead of N^3 / 2 logits.

    Args:
        num_classes, embedding_size: C, D.
        base: "cosface" or "arcface".
        margin, scale: as in the base loss.
        wisk: width of the filter, at least 0.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        base: Literal["cosface", "arcface"] = "cosface",
        margin: float = 0.5,
        scale: float = 64.0,
        wisk: float = 1.5,
    ) -> None:
        one_of("base", base, ("cosface", "arcface"))
        in_range("wisk", wisk, 0.0, 1e6, "times the interquartile range")
        dial = AdditiveCosine(margin) if base == "cosface" else AdditiveAngle(margin)
        super().__init__(num_classes, embedding_size, margin=dial, scale=scale)
        self.wisk = wisk

    def row_losses(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.margin_logits(embeddings, labels)
        pairs = negative_pair_cosines(embeddings, labels, self.wisk)
        scale = self.row_scale(embeddings) * self.scale_strength
        # Without pairs, the logsumexp is -inf and adds nothing.
        pair_log_sum = torch.logsumexp(scale * pairs, 0) if len(pairs) else logits.new_tensor(-torch.inf)
        target_logits = logits.gather(1, labels[:, None]).squeeze(1)
        log_p = target_logits - torch.logaddexp(torch.logsumexp(logits, dim=1), pair_log_sum)
        return -log_p, log_p.exp()


def negative_pair_cosines(embeddings: Tensor, labels: Tensor, wisk: float) -> Tensor:
    """Return cosines [P] of different-class pairs, each once, without outliers by linearly interpolated quartiles."""
    unit = unit_rows(embeddings)
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    different = labels[first] != labels[second]
    cosine = functional.linear(unit, unit)[first[different], second[different]]
    if len(cosine) == 0:
        return cosine
    low, high = _quantile(cosine.detach(), 0.25), _quantile(cosine.detach(), 0.75)
    spread = wisk * (high - low)
    return cosine[(cosine >= low - spread) & (cosine <= high + spread)]


def _quantile(values: Tensor, share: float) -> Tensor:
    """Compute torch.quantile without its limit of 16 million values."""
    position = share * (len(values) - 1)
    below = values.kthvalue(int(position) + 1).values
    above = values.kthvalue(min(int(position) + 2, len(values))).values
    return below + (position - int(position)) * (above - below)
