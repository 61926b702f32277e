"""What every loss with one center (or several) a class shares: the weight, the cosines, the checks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steradian.errors import InputError
from steradian.losses.checks import check_batch, check_sizes
from steradian.losses.head.dense import cosines, unit_rows


class ClassCenters(nn.Module):
    """C classes with K centers each in D dimensions, and the cosines to the nearest center of each class.

    Attributes:
        weight: [C, D] parameter; with sub-centers [C * K, D], row c * K + k. A buffer where centers are fixed.
    """

    weight: Tensor

    def __init__(
        self, num_classes: int, embedding_size: int, *, subcenters: int = 1, centers: Tensor | None = None
    ) -> None:
        super().__init__()
        check_sizes(num_classes, embedding_size)
        if not isinstance(subcenters, int) or isinstance(subcenters, bool) or subcenters < 1:
            raise InputError(f"subcenters must be a whole number of at least 1, but is {subcenters!r}.")
        self.num_classes = num_classes
        self.embedding_size = embedding_size
        self.subcenters = subcenters
        if centers is not None:
            self.register_buffer("weight", centers)
        else:
            self.weight = nn.Parameter(unit_rows(torch.randn(num_classes * subcenters, embedding_size)))

    def cosines(self, embeddings: Tensor) -> Tensor:
        """cos(theta), [N, C], from raw embeddings [N, D]; with sub-centers the largest of each class.

        Only the winning center of a class receives a gradient.
        """
        cosine = cosines(self.full_precision(embeddings), self.weight)
        return self.nearest(cosine)

    def nearest(self, products: Tensor) -> Tensor:
        """The largest of the K products of each class: [N, C * K] -> [N, C]."""
        if self.subcenters == 1:
            return products
        return products.view(len(products), self.num_classes, self.subcenters).max(dim=2).values

    def full_precision(self, embeddings: Tensor) -> Tensor:
        """Half-precision cosines cannot tell angles below 2 degrees (fp16) or 5 (bf16) apart."""
        return embeddings.to(self.weight.dtype)

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Raise `InputError` unless embeddings are finite float [N, D] and labels int64 [N] in 0..C-1."""
        check_batch(embeddings, labels, self.num_classes, self.embedding_size)

    def extra_repr(self) -> str:
        return f"{self.num_classes}, {self.embedding_size}"
