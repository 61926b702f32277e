"""The head of a recognizer: a loss with logits. Pair losses get class means to classify by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steradian import losses
from steradian.errors import InputError, UsageError
from steradian.losses import HEAD_OPTIONS, Head
from steradian.losses.cosines import cosines, unit_rows
from steradian.losses.head.plan import HEADS
from steradian.losses.head.sampled import DEFAULT_RATE
from steradian.losses.ranges import one_of


class ClassMeanHead(Head):
    """A pair loss, and the class means that stand in for the centers it does not learn.

    The ``weight`` [C, D] are unit vectors; they are zero until `finish` is called after training.
    """

    SCALE = 16.0
    """Scale from cosines to logits; it does not change the ranking, and calibration replaces it."""

    def __init__(self, criterion: nn.Module, num_classes: int, embedding_size: int) -> None:
        super().__init__()
        self.criterion = criterion
        self.register_buffer("weight", torch.zeros(num_classes, embedding_size))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.criterion(embeddings, labels)
        return loss

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return cosines to the class means times `SCALE`, [N, C]."""
        return self.SCALE * cosines(embeddings.to(self.weight.dtype), self.weight)

    def evaluate(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, None]:
        return self(embeddings, labels)[None], None

    def finish(self, training_embeddings: Callable[[], tuple[Tensor, Tensor]]) -> None:
        self.set_centers(*training_embeddings())

    def set_centers(self, embeddings: Tensor, labels: Tensor) -> None:
        """Set each center to the mean direction of the ``embeddings`` [N, D] of its class."""
        if len(embeddings) != len(labels):
            raise InputError(
                f"expected one label per embedding, but got {len(embeddings)} embeddings and {len(labels)} labels."
            )
        sums = torch.zeros_like(self.weight).index_add_(0, labels, unit_rows(embeddings))
        self.weight.copy_(unit_rows(sums))


def build_head(name: str, num_classes: int, embedding_size: int, options: Mapping[str, Any]) -> Head:
    """Return the loss ``name`` as a `Head`."""
    loss = losses.create(name, num_classes, embedding_size, **options)
    return loss if isinstance(loss, Head) else ClassMeanHead(loss, num_classes, embedding_size)


def training_head_options(loss: str, options: Mapping[str, Any], world_size: int) -> dict[str, Any]:
    """Return the head options for training: ``options``, and sharded if there are several processes."""
    chosen = {key: value for key, value in options.items() if key in HEAD_OPTIONS}
    one_of("head", chosen.get("head", "auto"), HEADS)
    if world_size == 1:
        return chosen
    if "head" not in losses.preset(loss).options() or chosen.get("head") in ("dense", "tiled"):
        raise UsageError(
            f"The loss {loss!r} with head={chosen.get('head', 'auto')!r} runs in one process. Start it "
            "without torchrun, or use a loss of the softmax family with head 'auto', 'sampled' or 'sharded'."
        )
    if chosen.get("head") == "sampled":
        chosen.setdefault("sample_rate", DEFAULT_RATE)
    return {**chosen, "head": "sharded"}
