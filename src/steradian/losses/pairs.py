"""Pair and triplet losses by distance, computed from the B x B distance matrix without enumerating triplets.

Distances are Euclidean between unit vectors, in [0, 2], unless ``normalize`` is False
(system B compares raw embeddings). These losses have no class centers.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from steradian.errors import InputError
from steradian.losses.angles import softplus
from steradian.losses.pair_table import PairLoss, distances, sums_and_counts
from steradian.losses.ranges import flag, in_range, one_of

Mining = Literal["batch-all", "batch-hard", "semi-hard", "semi-hard-drop"]
Variant = Literal["hadsell", "linear"]


class TripletLoss(PairLoss):
    """[d(a, p) - d(a, n) + margin]_+ over triplets chosen within the batch.

    ``mining`` selects the triplets:

    * "batch-all": all triplets; mean over those with a loss above 0 (Hermans et al. 2017).
    * "batch-hard": per anchor the farthest positive and the nearest negative (Hermans et al. 2017);
      mean over the anchors that have both.
    * "semi-hard": per positive pair the nearest negative that is farther than the positive, or the
      farthest negative if none is; mean over all positive pairs (FaceNet, Schroff et al. 2015, as in
      TensorFlow Addons, which system B uses).
    * "semi-hard-drop": as "semi-hard", but only pairs with 0 < d(a, n) - d(a, p) <= margin count; mean over
      those (the rule of pytorch-metric-learning's semi-hard miner, with the nearest negative).

    A batch without a usable triplet has loss 0 and gradient 0.

    Args:
        margin: a distance, at least 0; or "soft" for softplus(d(a, p) - d(a, n)), which never reaches 0.
        mining: see above. With margin="soft", "batch-all" averages over all triplets, and "semi-hard-drop" is refused.
        normalize: compare unit vectors.
        squared: compare squared distances, as FaceNet does.
    """

    def __init__(
        self,
        *,
        margin: float | Literal["soft"] = 0.2,
        mining: Mining = "semi-hard",
        normalize: bool = True,
        squared: bool = False,
    ) -> None:
        super().__init__(normalize=normalize)
        flag("squared", squared)
        self.squared = squared
        one_of("mining", mining, ("batch-all", "batch-hard", "semi-hard", "semi-hard-drop"))
        if isinstance(margin, str) and margin == "soft":
            if mining == "semi-hard-drop":
                raise InputError("mining='semi-hard-drop' needs a numeric margin, but margin is 'soft'. Give a number.")
        else:
            in_range("margin", margin, 0.0, 1e6, "a distance, or 'soft'")
        self.margin, self.mining = margin, mining
        self.soft = isinstance(margin, str)
        self.width = 0.0 if isinstance(margin, str) else margin

    def compare(self, anchors: Tensor, vectors: Tensor) -> Tensor:
        compared = distances(anchors, vectors)
        return compared.square() if self.squared else compared

    def entries_per_row(self, count: int) -> int:
        return count**2 if self.soft and self.mining == "batch-all" else count

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if self.mining == "batch-all":
            return self._batch_all(values, positive, negative)
        if self.mining == "batch-hard":
            return self._batch_hard(values, positive, negative)
        nearest, exists = _semi_hard_negatives(values, negative)
        if self.mining == "semi-hard":
            usable = positive & negative.any(dim=1, keepdim=True)
            gap = values - torch.where(usable, nearest, torch.zeros_like(nearest))
            return sums_and_counts(self._hinge(gap), usable)
        gap = values - torch.where(exists, nearest, torch.zeros_like(nearest))
        return sums_and_counts(gap + self.width, positive & exists & (gap >= -self.width))

    def active_share(self, embeddings: Tensor, labels: Tensor) -> float:
        """Return the fraction of all triplets with a loss above 0, for a numeric margin; NaN without triplets."""
        batch_all = TripletLoss(margin=self.margin, mining="batch-all", normalize=self.normalize, squared=self.squared)
        same = labels[:, None] == labels[None, :]
        triplets = ((same.sum(dim=1) - 1) * (~same).sum(dim=1)).sum()
        return float(batch_all.table(embeddings, labels)[:, 1].sum() / triplets)

    def _hinge(self, gap: Tensor) -> Tensor:
        return softplus(gap) if self.soft else (gap + self.width).clamp(min=0.0)

    def _batch_hard(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        farthest = torch.where(positive, values, -math.inf).amax(dim=1)
        nearest = torch.where(negative, values, math.inf).amin(dim=1)
        usable = positive.any(dim=1) & negative.any(dim=1)
        gap = torch.where(usable, farthest, 0.0) - torch.where(usable, nearest, 0.0)
        return sums_and_counts(self._hinge(gap)[:, None], usable[:, None])

    def _batch_all(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if self.soft:
            gap = values[:, :, None] - values[:, None, :]
            valid = positive[:, :, None] & negative[:, None, :]
            return sums_and_counts(softplus(gap).flatten(1), valid.flatten(1))
        # With negatives sorted by distance, those nearer than d(a, p) + margin form a prefix: use its cumulative sum.
        ordered = torch.where(negative, values, math.inf).sort(dim=1).values
        reach = values + self.width
        below = torch.searchsorted(ordered.detach(), reach.detach()) * positive
        finite = torch.where(ordered.isfinite(), ordered, torch.zeros_like(ordered))
        prefix = functional.pad(finite.cumsum(dim=1), (1, 0)).gather(1, below)
        return torch.stack([(below * reach - prefix).sum(dim=1), below.sum(dim=1).to(values.dtype)], dim=1)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, mining={self.mining}, {super().extra_repr()}"


def _semi_hard_negatives(values: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each pair (a, p), the smallest d(a, n) above d(a, p) and whether one exists, both [b, B].

    If none exists, the distance is that of the farthest negative. Rows without negatives contain +inf and False.
    """
    ordered = torch.where(negative, values, math.inf).sort(dim=1).values
    count = negative.sum(dim=1, keepdim=True)
    index = torch.searchsorted(ordered.detach(), values.detach(), right=True)
    exists = index < count
    return ordered.gather(1, torch.where(exists, index, (count - 1).clamp(min=0))), exists


class ContrastiveLoss(PairLoss):
    """Pull pairs of one class together and push other pairs beyond ``margin``.

    ``variant`` selects the definition:

    * "hadsell": 1/2 d^2 for positives, 1/2 [margin - d]_+^2 for negatives, mean over all pairs
      (Hadsell et al. 2006).
    * "linear": d for positives, [margin - d]_+ for negatives, each averaged over its nonzero
      terms, then added (pytorch-metric-learning's definition).

    Args:
        margin: a distance, at least 0.
        variant: see above.
        normalize: compare unit vectors.
    """

    def __init__(self, *, margin: float = 1.0, variant: Variant = "hadsell", normalize: bool = True) -> None:
        super().__init__(normalize=normalize)
        in_range("margin", margin, 0.0, 1e6, "a distance")
        one_of("variant", variant, ("hadsell", "linear"))
        self.margin, self.variant = margin, variant

    def compare(self, anchors: Tensor, vectors: Tensor) -> Tensor:
        return distances(anchors, vectors)

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        shortfall = (self.margin - values).clamp(min=0.0)
        if self.variant == "linear":
            near, far = positive & (values > 0), negative & (shortfall > 0)
            return torch.cat([sums_and_counts(values, near), sums_and_counts(shortfall, far)], dim=1)
        terms = 0.5 * torch.where(positive, values, shortfall).square()
        return sums_and_counts(terms, positive | negative)

    def reduce(self, table: Tensor) -> Tensor:
        if self.variant == "linear":
            return super().reduce(table[:, :2]) + super().reduce(table[:, 2:])
        return super().reduce(table)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, variant={self.variant}, {super().extra_repr()}"
