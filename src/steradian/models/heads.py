"""The head of a recognizer: a loss with logits. Losses of pairs get class means to classify by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from steradian import losses
from steradian.errors import InputError
from steradian.losses.head.dense import cosines, unit_rows


@runtime_checkable
class Head(Protocol):
    """What a recognizer needs of its head. Every loss of the softmax family is one."""

    weight: Tensor

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The training loss, a scalar, from raw embeddings [N, D] and int64 labels [N]."""
        ...

    def logits(self, embeddings: Tensor) -> Tensor:
        """Margin-free logits [N, C]."""
        ...


class ClassMeanHead(nn.Module):
    """A loss of pairs, and the class means that stand in for the centers it does not learn.

    Attributes:
        criterion: the loss of pairs.
        weight: [C, D] buffer of unit vectors; zero until `set_centers` is called after training.
    """

    SCALE = 16.0
    """Turns cosines into logits; it ranks nothing and is replaced by calibration."""

    weight: Tensor

    def __init__(self, criterion: nn.Module, num_classes: int, embedding_size: int) -> None:
        super().__init__()
        self.criterion = criterion
        self.register_buffer("weight", torch.zeros(num_classes, embedding_size))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.criterion(embeddings, labels)
        return loss

    def logits(self, embeddings: Tensor) -> Tensor:
        """Cosines to the class means times `SCALE`, [N, C]."""
        return self.SCALE * cosines(embeddings.to(self.weight.dtype), self.weight)

    def set_centers(self, embeddings: Tensor, labels: Tensor) -> None:
        """Take the mean direction of each class of ``embeddings`` [N, D] as its center."""
        if len(embeddings) != len(labels):
            raise InputError(f"{len(embeddings)} embeddings came with {len(labels)} labels.")
        sums = torch.zeros_like(self.weight).index_add_(0, labels, unit_rows(embeddings))
        self.weight.copy_(unit_rows(sums))


def build_head(name: str, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> nn.Module:
    """The loss ``name`` as a `Head`."""
    loss = losses.create(name, num_classes, embedding_size, **options)
    return loss if hasattr(loss, "logits") else ClassMeanHead(loss, num_classes, embedding_size)


def class_centers(head: nn.Module) -> Tensor:
    """One center a class, [C, D], detached: the mean direction of the sub-centers where there are several."""
    weight = as_head(head).weight.detach()
    if isinstance(head, losses.ClassCenters) and head.subcenters > 1:
        return unit_rows(weight).view(head.num_classes, head.subcenters, -1).mean(dim=1)
    return weight


def as_head(module: nn.Module) -> Head:
    """The module seen as a `Head`, for type checkers."""
    return cast("Head", module)
