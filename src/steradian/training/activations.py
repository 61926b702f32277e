"""Keep what an encoder remembers for its backward pass small: parts of a batch, computed a second time."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steradian.models.encoders import freeze_layers

CPU_WHOLE = 4 * 2**30
"""A batch whose activations take more than this, or than a quarter of the memory, is divided on a CPU."""

CPU_PART = 2**30
"""Most that the activations of a part take there."""

GPU_SHARE = 0.6
"""Share of the free memory of a GPU that activations may take."""

PROBED = 2
"""Images whose activations are measured."""

LEAST = 8
"""Fewest images of a part, because batch norm sees a part at a time."""

SMALL = 128 * 3 * 64**2
"""Batches of fewer values are never divided."""


def activation_bytes(encoder: nn.Module, shape: tuple[int, ...], frozen: int) -> int:
    """Measure what the backward pass keeps of an image [channels, H, W], in bytes, with the first layers frozen."""
    seen: dict[int, int] = {}
    parameters = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    training = encoder.training
    learning = {name: parameter.requires_grad for name, parameter in encoder.named_parameters()}
    device = next(encoder.parameters()).device
    try:
        # In eval mode nothing but the activations changes.
        encoder.eval()
        if frozen:
            freeze_layers(encoder, frozen)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            kept = encoder(torch.zeros((PROBED, *shape), device=device))
        del kept
    finally:
        encoder.train(training)
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(learning[name])
    return sum(seen.values()) // PROBED


def memory_limits(device: torch.device) -> tuple[int, int]:
    """Return how many bytes the activations of a batch may take, and those of a part of a larger batch."""
    if device.type == "cuda":
        free = int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])
        return free, free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(CPU_WHOLE, memory // 4), CPU_PART


def part_size(batch: int, image_bytes: int, limits: tuple[int, int]) -> int | None:
    """Return how many images of a batch pass through the encoder at once; None: all.

    Args:
        limits: bytes of a whole batch, and of a part (see `memory_limits`).
    """
    whole, part = limits
    if batch * image_bytes <= whole:
        return None
    most = max(LEAST, part // image_bytes)
    parts = math.ceil(batch / most)
    return None if parts <= 1 else math.ceil(batch / parts)


def in_parts(encode: Callable[[Tensor], Tensor], images: Tensor, at_once: int | None) -> Tensor:
    """Return ``encode(images)``; with ``at_once``, of that many images at a time, whose activations are not kept.

    The loss sees the whole batch, so that this is exact for every loss, also for those that compare the images of a
    batch (Gao et al. 2021, "GradCache"); batch norm sees a part. The backward pass computes each part again: that takes
    about a third more time.
    """
    if at_once is None or len(images) <= at_once:
        return encode(images)
    return torch.cat([computed_twice(encode, part) for part in torch.split(images, at_once)])


def computed_twice(encode: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
    """Return ``encode(part)``, whose activations the backward pass computes again."""

    def encode_part(part: Tensor) -> Tensor:
        _return_freed_memory()
        return encode(part)

    if not torch.is_grad_enabled():
        return encode_part(part)
    features: Tensor = checkpoint(encode_part, part, use_reentrant=False)
    return features


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _return_freed_memory() -> None:
    """Give memory that is free, but scattered, back to the system: parts of many sizes leave gigabytes of it."""
    with contextlib.suppress(AttributeError, OSError):
        _c_library().malloc_trim(0)


@contextlib.contextmanager
def steady_statistics(encoder: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norm while the backward pass computes activations a second time."""
    norms: list[Any] = [
        module
        for module in encoder.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None
    ]
    before = [(norm.momentum, int(norm.num_batches_tracked)) for norm in norms if norm.num_batches_tracked is not None]
    norms = [norm for norm in norms if norm.num_batches_tracked is not None]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.fill_(tracked)
