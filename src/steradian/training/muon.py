"""Muon (Jordan et al. 2024), momentum whose update of a matrix is made nearly orthogonal, for filters too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from steradian.errors import InputError

RATE = 3.0
"""Factor on the learning rate of AdamW, for updates of AdamW's size; chosen of 1, 3 and 6 in `benchmarks/practices`."""


class Muon(torch.optim.Optimizer):
    """``torch.optim.Muon`` for weights of two dimensions and more, such as filters [out, in, height, width].

    Each is taken as a matrix of one row per output. An update has the root mean square of one of AdamW's (Liu et al.
    2025): .2 sqrt(max(rows, columns)) times the orthogonal matrix. A weight that is neither contiguous nor
    channels-last is made contiguous.

    Args:
        groups: of parameters, each group with its own ``factor`` and ``weight_decay``.
        lr: learning rate.

    Raises:
        InputError: a weight has fewer than two dimensions.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self._matrices: list[list[nn.Parameter]] = []
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim < 2:
                    raise InputError(
                        "Muon updates weights of two dimensions and more, but one has the shape "
                        f"{tuple(weight.shape)}; give it to another optimizer."
                    )
                # Any other layout has no view of one row per output, and an update would be lost.
                weight.data = weight.data if _channels_last(weight) else weight.data.contiguous()
            self._matrices.append([nn.Parameter(_rows(weight.detach(), weight)) for weight in group["params"]])
        self._inner = torch.optim.Muon(
            [{"params": matrices} for matrices in self._matrices], lr=lr, adjust_lr_fn="match_rms_adamw"
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply the gradients; a weight without one is left as it is. ``closure`` is not supported."""
        for group, inner, matrices in zip(self.param_groups, self._inner.param_groups, self._matrices, strict=True):
            inner["lr"], inner["weight_decay"] = group["lr"], group["weight_decay"]
            for weight, matrix in zip(group["params"], matrices, strict=True):
                matrix.grad = None
                if weight.grad is None:
                    continue
                # A checkpoint may have filled the momentum.
                moments = self.state[weight]
                if not moments:
                    moments["momentum_buffer"] = torch.zeros_like(weight)
                matrix.data, matrix.grad = _rows(weight.data, weight), _rows(weight.grad, weight)
                self._inner.state[matrix]["momentum_buffer"] = _rows(moments["momentum_buffer"], weight)
        self._inner.step()  # type: ignore[no-untyped-call]


def _rows(values: Tensor, weight: Tensor) -> Tensor:
    """Return ``values``, of the shape of ``weight``, as a matrix of one row per output; a view, if their layouts agree.

    The columns follow the memory of ``weight``: another order of them only changes the order of the update's columns.
    """
    return (values.permute(0, 2, 3, 1) if _channels_last(weight) else values).flatten(1)


def _channels_last(weight: Tensor) -> bool:
    return weight.ndim == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
