"""Checks of what a loss is given, with messages that name the row and the likely fix."""

from __future__ import annotations

import torch
from torch import Tensor

from steradian.errors import InputError
from steradian.losses.ranges import whole_number


def check_sizes(num_classes: int, embedding_size: int) -> None:
    """Raise `InputError` unless both are positive whole numbers."""
    whole_number("num_classes", num_classes)
    whole_number("embedding_size", embedding_size)


def check_batch(embeddings: Tensor, labels: Tensor, num_classes: int | None, embedding_size: int | None) -> None:
    """Raise `InputError` unless embeddings are finite float [N, D], labels int64 [N] in 0..C-1, and N > 0.

    Values are read only on the CPU: elsewhere it would stall the device at every step, and the data room
    has checked every label before.
    """
    check_embeddings(embeddings, embedding_size)
    _tensor("labels", labels)
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise InputError(
            f"labels must be an int64 tensor [N], but came as {labels.dtype} {list(labels.shape)}. "
            + ("Use labels.argmax(dim=1)" if labels.ndim == 2 else "Use labels.long()")
            + ", one class index per row."
        )
    if len(labels) != len(embeddings):
        raise InputError(f"{len(embeddings)} embeddings came with {len(labels)} labels; one label per row is needed.")
    if num_classes is not None and labels.device.type == "cpu":
        lowest, highest = torch.aminmax(labels)
        if int(lowest) < 0 or int(highest) >= num_classes:
            row = int(torch.nonzero((labels < 0) | (labels >= num_classes))[0])
            raise InputError(
                f"label {int(labels[row])} in row {row} is outside 0..{num_classes - 1} "
                f"(num_classes={num_classes}). Count the classes again or mend the label."
            )


def check_embeddings(embeddings: Tensor, embedding_size: int | None) -> None:
    """Raise `InputError` unless embeddings are float [N, D], N > 0, and (on the CPU) finite."""
    _tensor("embeddings", embeddings)
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise InputError(
            f"embeddings must be a float tensor [N, D], but came as {embeddings.dtype} {list(embeddings.shape)}."
        )
    if embedding_size is not None and embeddings.shape[1] != embedding_size:
        raise InputError(
            f"embeddings have {embeddings.shape[1]} dimensions, but the loss was made with "
            f"embedding_size={embedding_size}. Make the loss with the size that the neck puts out."
        )
    if len(embeddings) == 0:
        raise InputError("the batch is empty: a loss needs at least one row.")
    if embeddings.device.type == "cpu" and not torch.isfinite(embeddings).all():
        row = int(torch.nonzero(~torch.isfinite(embeddings).all(dim=1))[0])
        raise InputError(
            f"the embedding in row {row} is not finite. Training has diverged (lower the learning rate or the "
            "scale), or the input held NaN or infinity."
        )


def _tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} must be a torch tensor, but came as {type(value).__name__}. Use torch.as_tensor.")
