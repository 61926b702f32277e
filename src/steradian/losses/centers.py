"""Base of all losses with one or more centers per class: the weight, the cosines and the forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from steradian.errors import InputError
from steradian.losses.checks import check_batch, check_sizes
from steradian.losses.cosines import cosines, unit_rows
from steradian.losses.directions import REPELLED, spread_directions
from steradian.losses.ranges import whole_number
from steradian.losses.trainable import Head
from steradian.losses.update_watch import UpdateWatch

DRAWN_AT_ONCE = 2**22
"""Numbers drawn per block, so that drawing ten million centers needs no second array of that size."""


def random_directions(count: int, size: int, rows: slice) -> Tensor:
    """Return ``rows`` of random unit vectors [count, size]; each row is the same for any choice of ``rows``."""
    directions = torch.empty(rows.stop - rows.start, size)
    if directions.is_meta:
        # Only the shape is needed. Drawing on "meta" would make torch import its compiler, which takes a second.
        return directions
    block = max(1, DRAWN_AT_ONCE // size)
    for start in range(0, count, block):
        drawn = unit_rows(torch.randn(min(block, count - start), size))
        first, last = max(rows.start, start), min(rows.stop, start + len(drawn))
        if first < last:
            directions[first - rows.start : last - rows.start] = drawn[first - start : last - start]
    return directions


class ClassCenters(Head):
    """C classes with K centers each in D dimensions, and the cosines to the nearest center of each class.

    Attributes:
        weight: [C, D] parameter; with sub-centers [C * K, D], row c * K + k. It is a buffer if the centers are fixed.
            If the classes are divided over processes, it holds only the rows ``rows``.
    """

    has_class_logits = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        subcenters: int = 1,
        centers: Tensor | None = None,
        rows: slice | None = None,
    ) -> None:
        super().__init__()
        check_sizes(num_classes, embedding_size)
        whole_number("subcenters", subcenters)
        self.num_classes = num_classes
        self.embedding_size = embedding_size
        self.subcenters = subcenters
        row_count = num_classes * subcenters
        rows = self.rows = rows if rows is not None else slice(0, row_count)
        if centers is None:
            self.weight = nn.Parameter(random_directions(row_count, embedding_size, rows))
            self.weight.register_post_accumulate_grad_hook(UpdateWatch())  # type: ignore[no-untyped-call]
        elif not centers.is_floating_point() or centers.shape != (row_count, embedding_size):
            raise InputError(
                f"centers must be a float tensor [{row_count}, {embedding_size}], but are {centers.dtype} "
                f"{list(centers.shape)}."
            )
        else:
            self.register_buffer("weight", centers.detach()[rows].clone())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss in the dtype of ``weight`` (float32 unless changed), also under autocast.

        Training mode uses the loss of the paper; eval mode uses the margin-free loss at full scale for all techniques.

        Args:
            embeddings: [N, D] raw neck output, any float dtype.
            labels: [N] int64 in 0..C-1.

        Raises:
            InputError: wrong shapes, dtypes or labels; embeddings that are not finite (checked on the CPU only).
        """
        self.check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = self.full_precision(embeddings)
            return (self.training_loss if self.training else self.evaluation_loss)(embeddings, labels)

    def evaluate(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margin-free cross-entropy [N], and whether the true class has the largest logit, bool [N].

        Raises:
            InputError: as in `forward`.
        """
        self.check(embeddings, labels)
        return self.evaluated(embeddings, labels)

    def evaluated(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `evaluate` for a batch that has been checked."""
        logits = self.logits(embeddings)
        return functional.cross_entropy(logits, labels, reduction="none"), logits.argmax(dim=1) == labels

    def training_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the training loss of checked embeddings in full precision."""
        raise NotImplementedError

    def evaluation_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the margin-free logits, without updating any state."""
        return functional.cross_entropy(self.logits(embeddings), labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return margin-free logits [N, C] of raw embeddings [N, D], for prediction."""
        raise NotImplementedError

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Return cos(theta), [N, C], of raw embeddings [N, D]; with sub-centers the largest of each class.

        Only the nearest center of a class receives a gradient.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.nearest(cosines(self.full_precision(embeddings), self.weight))

    def nearest(self, products: Tensor) -> Tensor:
        """Return the largest of the K products of each class: [N, C * K] -> [N, C]."""
        if self.subcenters == 1:
            return products
        return products.view(len(products), self.num_classes, self.subcenters).max(dim=2).values

    def full_precision(self, embeddings: Tensor) -> Tensor:
        """Cast to the weight dtype: half precision cannot resolve angles below 2 (fp16) or 5 (bf16) degrees."""
        return embeddings.to(self.weight.dtype)

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Raise `InputError` unless embeddings are finite float [N, D] and labels int64 [N] in 0..C-1."""
        check_batch(embeddings, labels, self.num_classes, self.embedding_size)

    def class_centers(self) -> Tensor:
        weight = self.weight.detach()
        if self.subcenters == 1:
            return weight
        return unit_rows(weight).view(self.num_classes, self.subcenters, -1).mean(dim=1)

    @torch.no_grad()
    def place_centers(self, seed: int) -> None:
        if not isinstance(self.weight, nn.Parameter):
            return
        size = self.embedding_size
        if self.num_classes > REPELLED and 2 < size < self.num_classes - 1:
            # Spreading would leave so many centers to chance too, at the price of a second array of them all.
            return
        directions = spread_directions(self.num_classes, size, seed)
        if self.subcenters > 1:
            generator = torch.Generator().manual_seed(seed)
            directions = directions.repeat_interleave(self.subcenters, dim=0)
            directions += 0.1 * torch.randn(directions.shape, generator=generator) / size**0.5
        self.weight.copy_(directions[self.rows])

    def describe_plan(self, batch_size: int) -> str | None:
        return "dense"

    def extra_repr(self) -> str:
        return f"{self.num_classes}, {self.embedding_size}"
