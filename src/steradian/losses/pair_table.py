"""Base of all pair losses: compute statistics for each anchor from its row of the B x B matrix.

A matrix of up to `TILE` entries is built at once. A larger one is built in blocks of rows that are recomputed in the
backward pass, so memory stays bounded for any batch size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steradian.losses.checks import check_batch
from steradian.losses.cosines import unit_rows
from steradian.losses.ranges import flag

TILE = 2**22
"""Maximum number of matrix entries in memory at once: 16 MiB in float32."""


class PairLoss(nn.Module):
    """Compute a scalar loss from a table [B, k] of statistics of each anchor's pairs, without class centers or state.

    A subclass defines how to compare two vectors (`compare`), the statistics of an anchor's row (`statistics`), and
    how the statistics become the loss (`reduce`).

    Args:
        normalize: compare unit vectors.
    """

    def __init__(self, *, normalize: bool = True) -> None:
        super().__init__()
        flag("normalize", normalize)
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of embeddings [B, D] and int64 labels [B]."""
        check_batch(embeddings, labels, None, None)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.reduce(self.table(embeddings, labels))

    def table(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the `statistics` of all anchors, [B, k]."""
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
        is_self = anchors[:, None] == torch.arange(len(labels), device=labels.device)[None, :]
        return self.statistics(self.compare(vectors[start:stop], vectors), same & ~is_self, ~same)

    def entries_per_row(self, count: int) -> int:
        """Return how many values the statistics of one anchor need in memory at once."""
        return count

    def compare(self, anchors: Tensor, vectors: Tensor) -> Tensor:
        """Compare [b, D] with [B, D]; by default cosines [b, B], or inner products without ``normalize``."""
        return anchors @ vectors.T

    def statistics(self, values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return [b, k] from compared rows [b, B] and the masks of same-class (self excluded) and other-class pairs."""
        raise NotImplementedError

    def reduce(self, table: Tensor) -> Tensor:
        """Reduce the table [B, k] to the loss; by default sum of column 0 / sum of column 1, with 0 / 0 = 0."""
        return table[:, 0].sum() / table[:, 1].sum().clamp(min=1.0)

    def extra_repr(self) -> str:
        return f"normalize={self.normalize}"


def prepared(embeddings: Tensor, normalize: bool) -> Tensor:
    """Return embeddings [B, D] in at least float32, with norm 1 if ``normalize``."""
    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    return unit_rows(embeddings) if normalize else embeddings


def distances(anchors: Tensor, vectors: Tensor) -> Tensor:
    """Return Euclidean distances [b, B] between the rows of [b, D] and [B, D].

    Squares that rounding makes negative become 0, and the gradient of a distance of 0 is 0 instead of infinite. The
    mean is subtracted first, which changes no distance, so that a common offset costs no precision.
    """
    middle = vectors.detach().mean(dim=0)
    anchors, vectors = anchors - middle, vectors - middle
    left, right = anchors.square().sum(dim=1)[:, None], vectors.square().sum(dim=1)[None, :]
    squared = left + right - 2.0 * anchors @ vectors.T
    rounding = torch.finfo(squared.dtype).eps * (left + right)
    positive = squared.detach() > rounding.detach()
    return torch.where(positive, squared, torch.ones_like(squared)).sqrt() * positive


def sums_and_counts(values: Tensor, chosen: Tensor) -> Tensor:
    """Return [b, 2]: the sum of the ``chosen`` entries of ``values`` [b, B], and their number."""
    return torch.stack([torch.where(chosen, values, 0.0).sum(dim=1), chosen.sum(dim=1).to(values.dtype)], dim=1)


def masked_logsumexp(values: Tensor, chosen: Tensor) -> Tensor:
    """Return logsumexp [b] of the ``chosen`` entries of each row [b, B]; -inf, with gradient 0, for empty rows."""
    any_chosen = chosen.any(dim=1)
    masked = torch.where(chosen, values, -torch.inf)
    masked = torch.where(any_chosen[:, None], masked, 0.0)
    return torch.where(any_chosen, torch.logsumexp(masked, dim=1), -torch.inf)
