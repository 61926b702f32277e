"""Class centers that start at the mean direction of their images under the encoder as it is (Qi et al. 2018).

With tens of thousands of classes of a few images each, random centers give the encoder nothing to hold on to for
thousands of steps. The means of an encoder that is not even trained already tell many classes apart.
"""

from __future__ import annotations

import torch
from torch import nn

from steradian.errors import UsageError
from steradian.losses import MarginSoftmaxLoss
from steradian.losses.head.dense import unit_rows
from steradian.losses.head.sharded import gather_batch, is_distributed
from steradian.models.encoders import freeze_layers
from steradian.training import distributed
from steradian.training.batches import Batches
from steradian.training.state import TrainingState


def movable(head: nn.Module) -> MarginSoftmaxLoss:
    """The head, if its centers can be placed. Raises `UsageError` for a loss outside the softmax family."""
    if not isinstance(head, MarginSoftmaxLoss) or not isinstance(head.weight, nn.Parameter):
        raise UsageError(
            f"training.centers: means places learned class centers, and {type(head).__name__} has none. "
            "Take a loss of the softmax family, or training.centers: spread."
        )
    return head


@torch.no_grad()
def imprint(state: TrainingState, train: Batches, frozen: int = 0) -> None:
    """Set each center, and its sub-centers, to the mean direction of the training images of its class.

    Args:
        frozen: layers of the encoder that keep their statistics.
    """
    head = movable(state.model.head)
    # Batch norm by the batch: running statistics say nothing yet.
    state.model.train()
    freeze_layers(state.model.encoder, frozen)
    sums = torch.zeros(len(head.weight) // head.subcenters, head.embedding_size, device=head.weight.device)
    for whole in train.epoch(0):
        batch = whole[distributed.part_of(whole)]
        labels = train.labels(batch)
        raw = (
            state.model.neck(train.features(state.model, batch)).float()
            if len(batch)
            else sums.new_zeros(0, head.embedding_size)
        )
        if is_distributed():
            raw, labels = gather_batch(raw, labels)
        here = labels if head.engine.shard is None else head.engine.shard.local(labels)
        sums.index_add_(0, here[here >= 0], unit_rows(raw)[here >= 0])
    spread = 0.1 * torch.randn_like(head.weight) / head.embedding_size**0.5 if head.subcenters > 1 else 0.0
    head.weight.copy_(unit_rows(sums).repeat_interleave(head.subcenters, dim=0) + spread)
