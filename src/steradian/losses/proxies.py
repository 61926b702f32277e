"""Losses that compare images with one proxy or prototype per class."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from steradian.losses.centers import ClassCenters
from steradian.losses.directions import spread_directions
from steradian.losses.ranges import in_range, one_of


class _ProxyLoss(ClassCenters):
    """Base class: proxies are class centers, and prediction uses the cosine."""

    def __init__(self, num_classes: int, embedding_size: int, scale: float, centers: Tensor | None = None) -> None:
        super().__init__(num_classes, embedding_size, centers=centers)
        in_range("scale", scale, 1e-6, 1e6, "a scale")
        self.scale = scale

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return scale * cos(theta), [N, C]."""
        return self.scale * self.cosines(embeddings)


class ProxyNCALoss(_ProxyLoss):
    """mean -ln e^{-s d(x, p_y)} / sum_{j != y} e^{-s d(x, p_j)}, with d the squared distance of unit vectors.

    Movshovitz-Attias et al. 2017. ``variant`` "published" leaves the positive out of the sum, so the loss may be
    negative; "softmax" includes it (ProxyNCA++, pytorch-metric-learning), which is NormFace at twice the scale.

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
        # For unit vectors |x - p|^2 = 2 - 2 cos; the constant 2 cancels.
        logits, columns = 2.0 * self.scale * cosine, labels[:, None]
        if self.variant == "softmax":
            return functional.cross_entropy(logits, labels)
        if self.num_classes == 1:
            return 0.0 * logits.sum()
        others = torch.logsumexp(logits.scatter(1, columns, -math.inf), dim=1)
        return (others - logits.gather(1, columns).squeeze(1)).mean()


class ProxyAnchorLoss(_ProxyLoss):
    """Each proxy as an anchor against the images of the batch (Kim et al. 2020).

    1 / |P+| sum_{p in P+} ln(1 + sum_{x of p} e^{-s (c - margin)})
    + 1 / C sum_p ln(1 + sum_{other x} e^{s (c + margin)}), with P+ the classes in the batch and C all of them.

    Args:
        num_classes, embedding_size: C, D.
        scale: s, the paper's alpha.
        margin: in cosine units, [0, 1], the paper's delta.
    """

    def __init__(self, num_classes: int, embedding_size: int, scale: float = 32.0, margin: float = 0.1) -> None:
        super().__init__(num_classes, embedding_size, scale)
        in_range("margin", margin, 0.0, 1.0, "cosine units")
        self.margin = margin

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = self.cosines(embeddings)
        is_own_class = functional.one_hot(labels, self.num_classes).bool()
        pull = torch.where(is_own_class, -self.scale * (cosine - self.margin), -math.inf)
        push = torch.where(is_own_class, -math.inf, self.scale * (cosine + self.margin))
        # ln(1 + sum e^z): an extra row of zeros adds the 1 = e^0.
        zero_row = cosine.new_zeros(1, self.num_classes)
        pulls = torch.logsumexp(torch.cat([zero_row, pull]), dim=0)
        pushes = torch.logsumexp(torch.cat([zero_row, push]), dim=0)
        return pulls.sum() / is_own_class.any(dim=0).sum() + pushes.mean()


class PrototypeLoss(_ProxyLoss):
    """mean (1 - cos(x, p_y))^2 to fixed prototypes (Mettes et al. 2019, who sum over the batch).

    The prototypes come from `spread_directions`: the regular simplex if D >= C - 1.

    Args:
        num_classes, embedding_size: C, D.
        scale: multiplies cosines to give logits, for prediction only; the loss does not use it.

    Attributes:
        weight: [C, D] buffer.
    """

    def __init__(self, num_classes: int, embedding_size: int, scale: float = 16.0) -> None:
        super().__init__(num_classes, embedding_size, scale, spread_directions(num_classes, embedding_size))

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        target_cosines = self.cosines(embeddings).gather(1, labels[:, None])
        return (1.0 - target_cosines).square().mean()
