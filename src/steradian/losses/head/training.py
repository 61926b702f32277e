"""Initialize class centers from images, and choose their optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from steradian.losses.cosines import unit_rows
from steradian.losses.head.engine import HeadEngine
from steradian.losses.head.plan import Plan
from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.sharded import Shard, gather_batch
from steradian.losses.head.weight_gradient import FusedUpdate, InPlace
from steradian.losses.process_group import any_rank, is_distributed
from steradian.losses.trainable import OptimizerName


@torch.no_grad()
def imprint_centers(
    weight: nn.Parameter, subcenters: int, shard: Shard | None, batches: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Set each center, and its sub-centers, to the mean direction of its class (Qi et al. 2018).

    Args:
        weight: [C * K, D], or the rows of ``shard``.
        batches: raw embeddings [N, D] with int64 labels [N]; of this process, where there are several.
    """
    size = weight.shape[1]
    sums = torch.zeros(len(weight) // subcenters, size, device=weight.device)
    for embeddings, labels in batches:
        if is_distributed():
            embeddings, labels = gather_batch(embeddings, labels)
        local = labels if shard is None else shard.local(labels)
        sums.index_add_(0, local[local >= 0], unit_rows(embeddings)[local >= 0])
    spread = 0.1 * torch.randn_like(weight) / size**0.5 if subcenters > 1 else 0.0
    weight.copy_(unit_rows(sums).repeat_interleave(subcenters, dim=0) + spread)


def make_center_optimizer(
    weight: nn.Parameter, engine: HeadEngine, plan: Callable[[], Plan], kind: OptimizerName, lr: float, momentum: float
) -> RowOptimizer:
    """Return an optimizer for tiled, sampled or sharded centers, and send their gradient where it costs least."""
    optimizer = RowOptimizer(weight, kind, lr=lr, momentum=momentum)
    if engine.sampling is None:
        engine.weight_gradient = InPlace(weight)
        chosen = plan()
        if any_rank(chosen.kept == 0 and chosen.tiles > 0):
            # Memory is short: the whole gradient need not exist, at the price that it is not clipped.
            engine.weight_gradient = FusedUpdate(optimizer)
    return optimizer
