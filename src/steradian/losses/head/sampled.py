"""Sample the classes of each step: those of the batch, and a fraction of the others (Partial FC, An et al. 2022).

The softmax covers only the chosen classes, without correction for the others, as in the authors' code. Rows that are
not chosen get no gradient, and `row_optimizer` leaves them and their state unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steradian.losses.cosines import unit_rows
from steradian.losses.ranges import in_range

DEFAULT_RATE = 0.1
HARD_CANDIDATES = 3
"""Number of candidates compared for each hard negative."""


@dataclass(frozen=True)
class Sampling:
    """Choose the classes that a step uses.

    Args:
        rate: fraction of all classes, (0, 1]; the classes of the batch are always included.
        hard_share: fraction of the negatives, [0, 1], that are hard: `HARD_CANDIDATES` times as many are drawn, and
            those with the largest cosine to any embedding of the batch are used.
    """

    rate: float = DEFAULT_RATE
    hard_share: float = 0.0

    def __post_init__(self) -> None:
        in_range("sample_rate", self.rate, 1e-9, 1.0, "a fraction of the classes")
        in_range("hard_share", self.hard_share, 0.0, 1.0, "a fraction of the sampled wrong classes")

    def count(self, num_classes: int) -> int:
        """Return the number of classes per step, unless the batch alone has more."""
        return min(num_classes, max(1, int(self.rate * num_classes)))

    def candidates(self, num_classes: int) -> int:
        """Return the number of classes that are compared to find hard negatives."""
        return min(num_classes, int(HARD_CANDIDATES * self.hard_share * self.count(num_classes)))

    @torch.no_grad()
    def choose(
        self,
        weight: Tensor,
        labels: Tensor,
        embeddings: Tensor,
        subcenters: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the chosen classes, sorted int64 [R]; labels are in 0..C-1, or -1 for classes of other processes."""
        num_classes = len(weight) // subcenters
        own = torch.unique(labels[labels >= 0])
        negatives = max(0, self.count(num_classes) - len(own))
        hard = int(self.hard_share * negatives)
        # The classes of the batch come last in the random order, so they are drawn only after all others.
        order = torch.rand(num_classes, generator=generator, device=weight.device).index_fill_(0, own, 2.0)
        drawn = negatives - hard + min(HARD_CANDIDATES * hard, num_classes - len(own) - (negatives - hard))
        others = order.topk(drawn, largest=False).indices
        even, candidates = others[: negatives - hard], others[negatives - hard :]
        if hard:
            rows = candidates[:, None] * subcenters + torch.arange(subcenters, device=weight.device)
            near = unit_rows(weight[rows.flatten()]) @ unit_rows(embeddings).T
            nearest = near.amax(dim=1).view(len(candidates), subcenters).amax(dim=1)
            even = torch.cat([even, candidates[nearest.topk(hard).indices]])
        return torch.cat([own, even]).sort().values


class _PickedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = weight.shape
        return weight.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(rows[None], outer[0], ctx.shape, is_coalesced=True, check_invariants=False), None


def picked(weight: Tensor, rows: Tensor) -> Tensor:
    """Return ``weight[rows]`` [R, D] for sorted unique ``rows``; the gradient of ``weight`` is a sparse tensor."""
    chosen: Tensor = _PickedRows.apply(weight, rows)
    return chosen
