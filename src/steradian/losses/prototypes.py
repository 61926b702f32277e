"""Hyperspherical prototype networks: class centers that are spread before training and stay fixed."""

from __future__ import annotations

from torch import Tensor

from steradian.losses.centers import ClassCenters
from steradian.losses.directions import spread_directions
from steradian.losses.ranges import in_range


class PrototypeLoss(ClassCenters):
    """mean (1 - cos(x, p_y))^2 to fixed prototypes (Mettes et al. 2019, who sum over the batch).

    The prototypes come from `spread_directions`: the regular simplex if D >= C - 1.

    Args:
        num_classes, embedding_size: C, D.
        scale: multiplies cosines to give logits, for prediction only; the loss does not use it.

    Attributes:
        weight: [C, D] buffer.
    """

    def __init__(self, num_classes: int, embedding_size: int, scale: float = 16.0) -> None:
        super().__init__(num_classes, embedding_size, centers=spread_directions(num_classes, embedding_size))
        in_range("scale", scale, 1e-6, 1e6, "a scale")
        self.scale = scale

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        target_cosines = self.cosines(embeddings).gather(1, labels[:, None])
        return (1.0 - target_cosines).square().mean()

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return scale * cos(theta), [N, C]."""
        return self.scale * self.cosines(embeddings)
