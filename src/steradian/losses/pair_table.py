"""What all losses of pairs share: one row of statistics for each anchor, from its row of the B x B matrix.

Up to `TILE` entries the matrix is built at once; beyond, in blocks of rows that are computed again in the backward
pass, so that memory stays bounded whatever the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steradian.losses.checks import check_batch
from steradian.losses.head.dense import unit_rows
from steradian.losses.ranges import flag

TILE = 2**22
"""Entries of the matrix at once: 16 MiB in float32."""


class PairLoss(nn.Module):
    """A scalar from a table [B, k] of statistics of each anchor's pairs. No class centers, no state.

    A subclass says how two vectors compare (`compare`), what an anchor's row comes to (`statistics`), and how the rows
    make the loss (`reduce`).

    Args:
        normalize: compare unit vectors.
    """

    def __init__(self, *, normalize: bool = True) -> None:
        super().__init__()
        flag("normalize", normalize)
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss from embeddings [B, D] and int64 labels [B]."""
        check_batch(embeddings, labels, None, None)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.reduce(self.table(embeddings, labels))

    def table(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """`statistics` of all anchors, [B, k]."""
        vectors = prepared(embeddings, self.normalize)
        rows = max(1, TILE // self.entries_per_row(len(labels)))
        if rows >= len(labels):
            return self._block(vectors, labels, 0, len(labels))
        blocks = []
        for start in range(0, len(labels), rows):
            stop = min(start + rows, len(labels))
            blocks.append(checkpoint(self._block, vectors, labels, start, stop, use_reentrant=False))
        return torch.cat(blocks)

    def _block(self, vectors: Tensor, labels: Tensor, start: int, stop: int) -> Tensor:
        same = labels[start:stop, None] == labels[None, :]
        anchors = torch.arange(start, stop, device=labels.device)
        own = anchors[:, None] == torch.arange(len(labels), device=labels.device)[None, :]
        return self.statistics(self.compare(vectors[start:stop], vectors), same & ~own, ~same)

    def entries_per_row(self, count: int) -> int:
        """Numbers that one anchor's statistics need at once."""
        return count

    def compare(self, anchors: Tensor, vectors: Tensor) -> Tensor:
        """[b, B] from [b, D] and [B, D]: cosines (or inner products, without ``normalize``) unless overridden."""
        return anchors @ vectors.T

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """[b, k] from the compared rows [b, B] and the masks of same (self excluded) and different classes."""
        raise NotImplementedError

    def reduce(self, table: Tensor) -> Tensor:
        """The loss from the table [B, k]; by default the sums of column 0 over the counts of column 1, 0 / 0 = 0."""
        return table[:, 0].sum() / table[:, 1].sum().clamp(min=1.0)

    def extra_repr(self) -> str:
        return f"normalize={self.normalize}"


def prepared(embeddings: Tensor, normalize: bool) -> Tensor:
    """Embeddings [B, D] in at least float32, of length 1 if ``normalize``."""
    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    return unit_rows(embeddings) if normalize else embeddings


def distances(anchors: Tensor, vectors: Tensor) -> Tensor:
    """Euclidean distances [b, B] between the rows of [b, D] and [B, D].

    Squares below 0 from rounding are 0, and where a distance is 0 its gradient is 0, not infinite. The mean is taken
    out first, which changes no distance, so that a common offset costs no precision.
    """
    middle = vectors.detach().mean(dim=0)
    anchors, vectors = anchors - middle, vectors - middle
    left, right = anchors.square().sum(dim=1)[:, None], vectors.square().sum(dim=1)[None, :]
    squared = left + right - 2.0 * anchors @ vectors.T
    rounding = torch.finfo(squared.dtype).eps * (left + right)
    positive = squared.detach() > rounding.detach()
    return torch.where(positive, squared, torch.ones_like(squared)).sqrt() * positive


def sums_and_counts(values: Tensor, chosen: Tensor) -> Tensor:
    """[b, 2]: the sum of ``values`` [b, B] where ``chosen``, and how many there are."""
    return torch.stack([torch.where(chosen, values, 0.0).sum(dim=1), chosen.sum(dim=1).to(values.dtype)], dim=1)


def masked_logsumexp(values: Tensor, chosen: Tensor) -> Tensor:
    """ln sum e^value [b] over the ``chosen`` of each row [b, B]; -inf, with gradient 0, where none is."""
    some = chosen.any(dim=1)
    kept = torch.where(chosen, values, -torch.inf)
    kept = torch.where(some[:, None], kept, 0.0)
    return torch.where(some, torch.logsumexp(kept, dim=1), -torch.inf)
