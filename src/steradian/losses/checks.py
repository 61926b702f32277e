"""Check the inputs of a loss; error messages name the row and the likely fix."""

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

    Values are checked only on the CPU and outside of ``torch.compile``: reading them would stall a GPU at every step,
    and break a compiled graph.
    """
    check_embeddings(embeddings, embedding_size)
    _tensor("labels", labels)
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise InputError(
            f"labels must be an int64 tensor [N], but are {labels.dtype} {list(labels.shape)}. "
            + "Give one class index per row: "
            + ("labels.argmax(dim=1)." if labels.ndim == 2 else "labels.long().")
        )
    if len(labels) != len(embeddings):
        raise InputError(
            f"expected one label per embedding, but got {len(embeddings)} embeddings and {len(labels)} labels."
        )
    if num_classes is not None and readable(labels):
        lowest, highest = torch.aminmax(labels)
        if int(lowest) < 0 or int(highest) >= num_classes:
            row = int(torch.nonzero((labels < 0) | (labels >= num_classes))[0])
            raise InputError(
                f"label {int(labels[row])} in row {row} is outside 0..{num_classes - 1} "
                f"(num_classes={num_classes}). Correct the label or num_classes."
            )


def check_embeddings(embeddings: Tensor, embedding_size: int | None) -> None:
    """Raise `InputError` unless embeddings are float [N, D], N > 0, and (on the CPU) finite."""
    _tensor("embeddings", embeddings)
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise InputError(
            f"embeddings must be a float tensor [N, D], but are {embeddings.dtype} {list(embeddings.shape)}."
        )
    if embedding_size is not None and embeddings.shape[1] != embedding_size:
        raise InputError(
            f"embeddings have {embeddings.shape[1]} dimensions, but the loss was created with "
            f"embedding_size={embedding_size}. Create the loss with the output size of the neck."
        )
    if len(embeddings) == 0:
        raise InputError("the batch is empty: a loss needs at least one row.")
    if readable(embeddings) and not torch.isfinite(embeddings).all():
        row = int(torch.nonzero(~torch.isfinite(embeddings).all(dim=1))[0])
        raise InputError(
            f"the embedding in row {row} is not finite. Training has diverged (lower the learning rate or the "
            "scale), or the input contained NaN or infinity."
        )


def readable(values: Tensor) -> bool:
    """Return whether checks may read values: not on a GPU, and not while a graph is compiled."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def _tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} must be a torch tensor, but got {type(value).__name__}. Use torch.as_tensor.")
