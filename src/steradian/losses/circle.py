"""Circle loss with class centers: each similarity is weighted by its distance from its goal."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from steradian.losses.centers import ClassCenters
from steradian.losses.ranges import in_range


def pulled(cosine: Tensor, margin: float, gamma: float) -> Tensor:
    """Return gamma [1 + margin - c]_+ (c - 1 + margin) for same-class cosines; the weight [.]_+ has no gradient."""
    return gamma * (1.0 + margin - cosine.detach()).clamp(min=0.0) * (cosine - 1.0 + margin)


def pushed(cosine: Tensor, margin: float, gamma: float) -> Tensor:
    """Return gamma [c + margin]_+ (c - margin) for different-class cosines; the weight [.]_+ has no gradient."""
    return gamma * (cosine.detach() + margin).clamp(min=0.0) * (cosine - margin)


class CircleLoss(ClassCenters):
    """Softmax cross-entropy over z_y = gamma a_p (c_y - 1 + margin) and z_j = gamma a_n (c_j - margin).

    Args:
        num_classes, embedding_size: C, D.
        margin: relaxation, [0, 1]. The paper uses 0.25 for faces and re-identification, 0.4 for fine-grained classes.
        gamma: scale; 256 for faces, 128 for re-identification, 80 for fine-grained classes.
    """

    def __init__(self, num_classes: int, embedding_size: int, margin: float = 0.25, gamma: float = 256.0) -> None:
        super().__init__(num_classes, embedding_size)
        in_range("margin", margin, 0.0, 1.0, "cosine units")
        in_range("gamma", gamma, 1e-6, 1e6, "a scale")
        self.margin, self.gamma = margin, gamma

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine, columns = self.cosines(embeddings), labels[:, None]
        positive = pulled(cosine.gather(1, columns), self.margin, self.gamma)
        negative = pushed(cosine, self.margin, self.gamma)
        return functional.cross_entropy(negative.scatter(1, columns, positive), labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return gamma * cos(theta), [N, C]."""
        return self.gamma * self.cosines(embeddings)
