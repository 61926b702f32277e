"""Hyperspherical prototype networks: centers that are spread once and never move."""

from __future__ import annotations

from torch import Tensor

from steradian.losses.centers import ClassCenters
from steradian.losses.directions import spread_directions
from steradian.losses.ranges import in_range


class PrototypeLoss(ClassCenters):
    """mean (1 - cos(x, p_y))^2 to fixed prototypes (Mettes et al. 2019, who take the sum over the batch).

    The prototypes are `spread_directions`: the regular simplex when D >= C - 1.

    Args:
        num_classes, embedding_size: C, D.
        scale: turns cosines into logits for prediction only; the loss has none.

    Attributes:
        weight: [C, D] buffer.
    """

    def __init__(self, num_classes: int, embedding_size: int, scale: float = 16.0) -> None:
        super().__init__(num_classes, embedding_size, centers=spread_directions(num_classes, embedding_size))
        in_range("scale", scale, 1e-6, 1e6, "of the logits")
        self.scale = scale

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        own = self.cosines(embeddings).gather(1, labels[:, None])
        return (1.0 - own).square().mean()

    def logits(self, embeddings: Tensor) -> Tensor:
        """scale * cos(theta), [N, C]."""
        return self.scale * self.cosines(embeddings)
