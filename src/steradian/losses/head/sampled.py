"""Some of the classes at each step: those of the batch, and a share of the others (Partial FC, An et al. 2022).

The softmax runs over the chosen classes alone; nothing corrects for those left out, as in the release. Rows that were
not chosen get no gradient, and `row_optimizer` leaves them and their state as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from steradian.losses.head.dense import unit_rows
from steradian.losses.ranges import in_range

DEFAULT_RATE = 0.1
HARD_CANDIDATES = 3
"""As many candidates for each hard negative are looked at."""


@dataclass(frozen=True)
class Sampling:
    """Which classes a step sees.

    Args:
        rate: share of all classes, (0, 1]; the classes of the batch are always among them.
        hard_share: share of the negatives, [0, 1], that are not drawn evenly: of `HARD_CANDIDATES` times as many
            drawn ones, those with the largest cosine to any embedding of the batch.
    """

    rate: float = DEFAULT_RATE
    hard_share: float = 0.0

    def __post_init__(self) -> None:
        in_range("sample_rate", self.rate, 1e-9, 1.0, "a share of the classes")
        in_range("hard_share", self.hard_share, 0.0, 1.0, "a share of the sampled wrong classes")

    def count(self, num_classes: int) -> int:
        """Classes a step sees, unless the batch alone has more."""
        return min(num_classes, max(1, int(self.rate * num_classes)))

    def candidates(self, num_classes: int) -> int:
        """Rows that are copied to find the hard ones."""
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
        """Chosen classes, sorted int64 [R].

        Args:
            weight: [C * K, D].
            labels: [N] in 0..C-1, or -1 for classes of other processes.
            embeddings: [N, D].
            generator: to draw from.
        """
        num_classes = len(weight) // subcenters
        own = torch.unique(labels[labels >= 0])
        wanted = max(0, self.count(num_classes) - len(own))
        hard = int(self.hard_share * wanted)
        # The classes of the batch come last in a random order, so they are drawn only when all others are.
        order = torch.rand(num_classes, generator=generator, device=weight.device).index_fill_(0, own, 2.0)
        drawn = wanted - hard + min(HARD_CANDIDATES * hard, num_classes - len(own) - (wanted - hard))
        others = order.topk(drawn, largest=False).indices
        even, candidates = others[: wanted - hard], others[wanted - hard :]
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
    """``weight[rows]`` [R, D] for sorted ``rows`` without repeats; the gradient of ``weight`` is a sparse tensor."""
    chosen: Tensor = _PickedRows.apply(weight, rows)
    return chosen
