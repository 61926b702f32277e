"""The running mean of the weights, which is what a training with `average` ends with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def update_mean(
    mean: dict[str, Tensor] | None, weights: Mapping[str, Tensor], step: int, decay: float
) -> dict[str, Tensor]:
    """Return the mean m of the weights w after one more step: m = d m + (1 - d) w, in place where there is one.

    d is ``decay``, and (1 + step) / (10 + step) where that is smaller, so that the first weights are soon forgotten.
    The mean of weights along a training is flatter than the last ones (Polyak and Juditsky 1992; Izmailov et al. 2018).
    Integers, such as the counts of batch norm, are copied.

    Args:
        weights: parameters and buffers by name.
        step: number of steps done before this one.
    """
    if mean is None:
        return {name: tensor.detach().clone() for name, tensor in weights.items()}
    share = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    floats = [name for name, tensor in weights.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([mean[name] for name in floats], [weights[name].detach() for name in floats], share)
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            mean[name].copy_(tensor)
    return mean
