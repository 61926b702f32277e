"""UNPG: pairs of images of different classes, as further wrong classes of every row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from steradian.losses.head.dense import unit_rows
from steradian.losses.margin_softmax import MarginSoftmaxLoss
from steradian.losses.margins import AdditiveAngle, AdditiveCosine
from steradian.losses.ranges import in_range, one_of


class UnifiedNegativesLoss(MarginSoftmaxLoss):
    """CosFace or ArcFace whose wrong classes include the wrong pairs of the batch (UNPG, Jung et al. 2022).

    The sum over wrong classes gets e^{s s_n} too; s_n are the cosines between images of different classes, each pair
    once, without outliers: those within [Q1 - wisk IQR, Q3 + wisk IQR]. They are the same for every row, so their sum
    is taken once: N^2 / 2 cosines, not N^3 / 2 logits.

    Args:
        num_classes, embedding_size: C, D.
        base: "cosface" or "arcface".
        margin, scale: of the base.
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
        # An empty set of pairs has logsumexp -inf, and adds nothing.
        rest = torch.logsumexp(scale * pairs, 0) if len(pairs) else logits.new_tensor(-torch.inf)
        own = logits.gather(1, labels[:, None]).squeeze(1)
        log_p = own - torch.logaddexp(torch.logsumexp(logits, dim=1), rest)
        return -log_p, log_p.exp()


def negative_pair_cosines(embeddings: Tensor, labels: Tensor, wisk: float) -> Tensor:
    """Cosines [P] of the pairs of different classes, each once, outliers left out; quartiles interpolate linearly."""
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
    """torch.quantile without its limit of 16 million values."""
    place = share * (len(values) - 1)
    below = values.kthvalue(int(place) + 1).values
    above = values.kthvalue(min(int(place) + 2, len(values))).values
    return below + (place - int(place)) * (above - below)
