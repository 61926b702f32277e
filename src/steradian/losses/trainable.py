"""The protocol between training and a head, whatever the head optimizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from steradian.errors import UsageError

OptimizerName = Literal["adamw", "adam", "sgd"]


class Head(nn.Module):
    """The last part of a recognizer: ``head(embeddings, labels)`` is the training loss, ``logits`` are for prediction.

    Every loss of the softmax family is a head. Training calls the methods below and never asks for the class; their
    defaults are those of a head without learned class centers.

    Attributes:
        weight: [C, D] class centers ([C * K, D] with sub-centers): a parameter, or a buffer where they are not learned.
        subcenters: K, centers of each class.
        has_class_logits: whether the training loss compares an image with all classes (False for pair losses).
        independent_classes: whether the sigmoid of a logit is the probability of its class (one versus rest).
    """

    weight: Tensor
    subcenters: int = 1
    has_class_logits: ClassVar[bool] = False
    independent_classes: ClassVar[bool] = False

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the training loss, a scalar, of raw embeddings [N, D] and int64 labels [N]."""
        raise NotImplementedError

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return margin-free logits [N, C] of raw embeddings [N, D]."""
        raise NotImplementedError

    def evaluate(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return margin-free losses [N] and whether each row is classified correctly, bool [N].

        A head that does not classify while it trains returns one loss of the batch, [1], and None.
        """
        raise NotImplementedError

    def class_centers(self) -> Tensor:
        """Return one center of each class, [C, D], detached: the mean direction of its sub-centers."""
        return self.weight.detach()

    def place_centers(self, seed: int) -> None:
        """Spread learned centers evenly over the sphere; do nothing where none are learned."""

    @property
    def can_imprint(self) -> bool:
        """Whether `imprint` is possible."""
        return False

    def imprint(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set each center to the mean direction of the embeddings of its class (Qi et al. 2018).

        Args:
            batches: raw embeddings [N, D] with int64 labels [N].

        Raises:
            UsageError: this head has no learned class centers.
        """
        raise UsageError(
            f"training.centers: means places learned class centers, and {type(self).__name__} has none. "
            "Use a loss of the softmax family, or training.centers: spread."
        )

    def describe_plan(self, batch_size: int) -> str | None:
        """Return in one line how batches meet the classes; None for a head without class logits."""
        return None

    def builds_all_logits(self, batch_size: int) -> bool:
        """Return whether a training step of ``batch_size`` images builds the logits of all classes in this process."""
        return self.has_class_logits

    def center_optimizer(
        self, batch_size: int, kind: OptimizerName, *, lr: float, momentum: float, half_precision: bool
    ) -> torch.optim.Optimizer | None:
        """Return an optimizer of ``weight`` alone where the gradient of all centers is not one small matrix, else None.

        Args:
            batch_size: images of a step, over all processes.
            kind: "adamw", "adam" or "sgd"; ``momentum`` is for sgd.
            half_precision: compute the products with the classes in bfloat16 where the device repays it.
        """
        return None

    @property
    def sharded_names(self) -> frozenset[str]:
        """Names of parameters whose rows are divided over the processes of a group."""
        return frozenset()

    def start_step(self, margin_strength: float, scale_strength: float) -> None:
        """Set the share of margin and scale, each in [0, 1], that the next training step applies."""

    def finish(self, training_embeddings: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """Turn from training to use.

        Args:
            training_embeddings: makes raw embeddings [N, D] and labels [N] of all training images; costly.
        """
