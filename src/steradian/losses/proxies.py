"""Losses of images against one learned proxy a class."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from steradian.losses.centers import ClassCenters
from steradian.losses.ranges import in_range, one_of


class _ProxyLoss(ClassCenters):
    """Proxies are class centers; prediction is by cosine."""

    def __init__(self, num_classes: int, embedding_size: int, scale: float) -> None:
        super().__init__(num_classes, embedding_size)
        in_range("scale", scale, 1e-6, 1e6, "of the similarities")
        self.scale = scale

    def logits(self, embeddings: Tensor) -> Tensor:
        """scale * cos(theta), [N, C]."""
        return self.scale * self.cosines(embeddings)


class ProxyNCALoss(_ProxyLoss):
    """mean -ln e^{-s d(x, p_y)} / sum_{j != y} e^{-s d(x, p_j)}, d the squared distance of unit vectors.

    Movshovitz-Attias et al. 2017. ``variant`` "published" leaves the positive out of the sum, so the loss may be
    negative; "softmax" keeps it in (ProxyNCA++, pytorch-metric-learning), which is NormFace at twice the scale.

    Args:
        num_classes, embedding_size: C, D. scale: s.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        scale: float = 32.0,
        variant: Literal["published", "softmax"] = "published",
    ) -> None:
        super().__init__(num_classes, embedding_size, scale)
        one_of("variant", variant, ("published", "softmax"))
        self.variant = variant

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = self.cosines(embeddings)
        # |x - p|^2 = 2 - 2 cos between unit vectors, and the 2 cancels.
        logits, own = 2.0 * self.scale * cosine, labels[:, None]
        if self.variant == "softmax":
            return functional.cross_entropy(logits, labels)
        if self.num_classes == 1:
            return 0.0 * logits.sum()
        others = torch.logsumexp(logits.scatter(1, own, -math.inf), dim=1)
        return (others - logits.gather(1, own).squeeze(1)).mean()


class ProxyAnchorLoss(_ProxyLoss):
    """Each proxy as an anchor against the images of the batch (Kim et al. 2020).

    1 / |P+| sum_{p in P+} ln(1 + sum_{x of p} e^{-s (c - margin)})
    + 1 / C sum_p ln(1 + sum_{other x} e^{s (c + margin)}), P+ the classes that are in the batch, C all of them.

    Args:
        num_classes, embedding_size: C, D.
        scale: s, the paper's alpha.
        margin: of a cosine, [0, 1], the paper's delta.
    """

    def __init__(self, num_classes: int, embedding_size: int, scale: float = 32.0, margin: float = 0.1) -> None:
        super().__init__(num_classes, embedding_size, scale)
        in_range("margin", margin, 0.0, 1.0, "of a cosine")
        self.margin = margin

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = self.cosines(embeddings)
        mine = functional.one_hot(labels, self.num_classes).bool()
        pull = torch.where(mine, -self.scale * (cosine - self.margin), -math.inf)
        push = torch.where(mine, -math.inf, self.scale * (cosine + self.margin))
        # ln(1 + sum e^z): the 1 is one more row, e^0.
        one = cosine.new_zeros(1, self.num_classes)
        pulls = torch.logsumexp(torch.cat([one, pull]), dim=0)
        pushes = torch.logsumexp(torch.cat([one, push]), dim=0)
        return pulls.sum() / mine.any(dim=0).sum() + pushes.mean()
