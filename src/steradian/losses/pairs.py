"""Losses of pairs and triplets, by B x B matrix and reductions: triplets are never enumerated.

Distances are Euclidean between unit vectors, in [0, 2], unless ``normalize`` is turned off
(system B compares raw embeddings). These losses have no class centers.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from steradian.errors import InputError
from steradian.losses.checks import check_batch
from steradian.losses.head.dense import unit_rows

Mining = Literal["batch-hard", "semi-hard", "semi-hard-drop"]
Variant = Literal["hadsell", "linear"]


def pairwise_distances(vectors: Tensor) -> Tensor:
    """Euclidean distances [B, B] between the rows of ``vectors`` [B, D].

    Squares below 0 from rounding are 0, and where a distance is 0 its gradient is 0, not infinite.
    """
    squares = vectors.square().sum(dim=1)
    squared = squares[:, None] + squares[None, :] - 2.0 * vectors @ vectors.T
    rounding = torch.finfo(squared.dtype).eps * (squares[:, None] + squares[None, :])
    positive = squared.detach() > rounding.detach()
    return torch.where(positive, squared, torch.ones_like(squared)).sqrt() * positive


def _check_margin(margin: float) -> None:
    if not (isinstance(margin, int | float) and math.isfinite(margin) and margin >= 0.0):
        raise InputError(f"margin must be a distance of at least 0, but is {margin!r}.")


class _PairLoss(nn.Module):
    """What the losses of pairs share: prepared distances and the masks of same and different classes."""

    def __init__(self, *, margin: float, normalize: bool) -> None:
        super().__init__()
        _check_margin(margin)
        self.margin = margin
        self.normalize = normalize

    def _distances(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances [B, B], and the masks [B, B] of positive pairs (self excluded) and negative pairs."""
        check_batch(embeddings, labels, None, None)
        if embeddings.dtype in (torch.float16, torch.bfloat16):
            embeddings = embeddings.float()
        vectors = unit_rows(embeddings) if self.normalize else embeddings
        same = labels[:, None] == labels[None, :]
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        return pairwise_distances(vectors), same & ~own, ~same

    def extra_repr(self) -> str:
        return f"margin={self.margin}, normalize={self.normalize}"


class TripletLoss(_PairLoss):
    """[d(a, p) - d(a, n) + margin]_+ with the triplets chosen inside the batch.

    ``mining`` chooses them:

    * "batch-hard": per anchor the farthest positive and the nearest negative (Hermans et al. 2017);
      mean over the anchors that have both.
    * "semi-hard": per positive pair the nearest negative farther than the positive and, if there is
      none, the farthest negative; mean over all positive pairs (FaceNet, Schroff et al. 2015, as in
      TensorFlow Addons, which system B uses).
    * "semi-hard-drop": as before, but only pairs with 0 < d(a, n) - d(a, p) <= margin count; mean over
      those (the rule of pytorch-metric-learning's semi-hard miner, with the nearest negative).

    A batch without a usable triplet has loss 0 and gradient 0.
    """

    def __init__(self, *, margin: float = 0.2, mining: Mining = "semi-hard", normalize: bool = True) -> None:
        super().__init__(margin=margin, normalize=normalize)
        rules = {
            "batch-hard": _batch_hard,
            "semi-hard": _semi_hard,
            "semi-hard-drop": _semi_hard_drop,
        }
        if mining not in rules:
            raise InputError(f"mining must be one of {', '.join(rules)}, but is {mining!r}.")
        self.mining = mining
        self._rule = rules[mining]

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss from embeddings [B, D] and int64 labels [B]."""
        with torch.autocast(embeddings.device.type, enabled=False):
            distance, positive, negative = self._distances(embeddings, labels)
            return self._rule(distance, positive, negative, self.margin)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mining={self.mining}"


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of ``values`` where ``chosen``, and 0 (with zero gradient) where nothing is."""
    return torch.where(chosen, values, torch.zeros_like(values)).sum() / chosen.sum().clamp(min=1)


def _batch_hard(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    farthest = torch.where(positive, distance, -math.inf).amax(dim=1)
    nearest = torch.where(negative, distance, math.inf).amin(dim=1)
    usable = positive.any(dim=1) & negative.any(dim=1)
    gap = torch.where(usable, farthest, 0.0) - torch.where(usable, nearest, 0.0)
    return _mean_where((gap + margin).clamp(min=0.0), usable)


def _semi_hard_negatives(distance: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair (a, p), [B, B]: the smallest d(a, n) above d(a, p), and whether there is one.

    Where there is none the distance is that of the farthest negative. Rows without negatives hold
    +inf and False.
    """
    ordered = torch.where(negative, distance, math.inf).sort(dim=1).values
    count = negative.sum(dim=1, keepdim=True)
    place = torch.searchsorted(ordered.detach(), distance.detach(), right=True)
    found = place < count
    return ordered.gather(1, torch.where(found, place, (count - 1).clamp(min=0))), found


def _semi_hard(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    nearest, _ = _semi_hard_negatives(distance, negative)
    usable = positive & negative.any(dim=1, keepdim=True)
    gap = distance - torch.where(usable, nearest, torch.zeros_like(nearest))
    return _mean_where((gap + margin).clamp(min=0.0), usable)


def _semi_hard_drop(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    nearest, found = _semi_hard_negatives(distance, negative)
    gap = distance - torch.where(found, nearest, torch.zeros_like(nearest))
    return _mean_where(gap + margin, positive & found & (gap >= -margin))


class ContrastiveLoss(_PairLoss):
    """Pulls pairs of one class together and pushes other pairs beyond ``margin``.

    ``variant`` is the definition:

    * "hadsell": 1/2 d^2 for positives, 1/2 [margin - d]_+^2 for negatives, mean over all pairs
      (Hadsell et al. 2006).
    * "linear": d for positives, [margin - d]_+ for negatives, each averaged over its pairs that are
      not 0, then added (pytorch-metric-learning's definition).
    """

    def __init__(self, *, margin: float = 1.0, variant: Variant = "hadsell", normalize: bool = True) -> None:
        super().__init__(margin=margin, normalize=normalize)
        if variant not in ("hadsell", "linear"):
            raise InputError(f"variant must be 'hadsell' or 'linear', but is {variant!r}.")
        self.variant = variant

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss from embeddings [B, D] and int64 labels [B]."""
        with torch.autocast(embeddings.device.type, enabled=False):
            distance, positive, negative = self._distances(embeddings, labels)
            short = (self.margin - distance).clamp(min=0.0)
            if self.variant == "linear":
                return _mean_where(distance, positive & (distance > 0)) + _mean_where(short, negative & (short > 0))
            pairs = torch.where(positive, distance.square(), torch.where(negative, short.square(), 0.0))
            return 0.5 * _mean_where(pairs, positive | negative)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, variant={self.variant}"
