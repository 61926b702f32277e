"""Divide an encoder that does not fit over the processes: torch's ``fully_shard`` (FSDP2; Zhao et al. 2023).

Each process keeps a part of every parameter, of its gradient and of its moments. The layers of a block are put together
for its forward and its backward pass only. So every process has to pass through the encoder equally often.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from steradian.losses.process_group import largest
from steradian.models.staged import bare
from steradian.training.activations import computed_twice

SMALLEST = 2**16
"""Blocks with fewer parameters are put together with the rest of the encoder."""


def shard_encoder(encoder: nn.Module) -> None:
    """Divide ``encoder`` over the processes, in place, before any optimizer of its parameters is made.

    Gradients are summed over the processes, as `distributed.sum_gradients` sums those of replicated parameters.
    """
    # Nothing here changes features in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
    # torch divides contiguous parameters only; images may still have their channels last.
    encoder.to(memory_format=torch.contiguous_format)
    for module in [*_blocks(encoder), encoder]:
        sharded = fully_shard(module)
        sharded.set_gradient_divide_factor(1.0)
        # gloo cannot scale a sum, and there is nothing to scale.
        sharded.set_force_sum_reduction_for_comms(True)


def is_sharded(module: nn.Module) -> bool:
    """Return whether the encoder ``module`` was divided."""
    return isinstance(module, FSDPModule)


def local(tensor: Tensor) -> Tensor:
    """Return the part of ``tensor`` that this process keeps; a tensor that is not divided as it is."""
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part


def in_step(encoder: nn.Module, images: Tensor, at_once: int | None) -> Tensor:
    """Return the features of ``images`` by a divided encoder; every process of the group calls this.

    Processes have different numbers of images, and some have none. Those with fewer parts of ``at_once`` images pass a
    blank image instead, whose features are left out.
    """
    parts = list(torch.split(images, at_once or len(images))) if len(images) else []
    calls = largest(len(parts))

    def encode(part: Tensor) -> Tensor:
        features: Tensor = encoder(part)
        return features

    def encode_blank(part: Tensor) -> Tensor:
        with _evaluating(encoder):
            return encode(part)[:0]

    blank = images.new_zeros(1, *images.shape[1:])
    features = []
    for number in range(calls):
        part, compute = (parts[number], encode) if number < len(parts) else (blank, encode_blank)
        features.append(compute(part) if calls == 1 else computed_twice(compute, part))
    return torch.cat(features)


@contextlib.contextmanager
def _evaluating(encoder: nn.Module) -> Iterator[None]:
    """Keep the statistics of batch norm as they are in this block."""
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _blocks(encoder: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of the sequences of ``encoder``."""
    for sequence in bare(encoder).children():
        if isinstance(sequence, nn.Sequential | nn.ModuleList):
            for block in sequence:
                if sum(parameter.numel() for parameter in block.parameters()) >= SMALLEST:
                    yield block
