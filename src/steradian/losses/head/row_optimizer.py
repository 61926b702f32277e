"""Apply PyTorch's optimizers to a subset of the rows of a weight: a tile, or the classes that a step has sampled.

A row that is not updated keeps its value, momentum and moments. Weight decay and momentum do not act on it, so a
class that is sampled in every tenth step decays and coasts at a tenth of the rate. Adam's step count, for its
bias correction, is shared by the whole weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from steradian.losses.ranges import one_of

Rows = slice | Tensor
KINDS = ("sgd", "adam", "adamw")


class RowOptimizer(torch.optim.Optimizer):
    """Fused SGD with momentum, Adam or AdamW for one weight [R, D], applied to any of its rows.

    `step` applies ``weight.grad``, dense or sparse (only its rows change then). `apply` takes the gradient of some
    rows directly, so that the full gradient never exists.

    Args:
        weight: the class centers.
        kind: "sgd", "adam" or "adamw".
        lr, momentum, weight_decay: as in torch.optim; momentum applies to SGD only.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        kind: Literal["sgd", "adam", "adamw"] = "sgd",
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        one_of("kind", kind, KINDS)
        super().__init__([weight], {"lr": lr, "weight_decay": weight_decay})
        self._weight = weight
        self._rows = nn.Parameter(torch.empty(0, device=weight.device), requires_grad=True)
        if kind == "sgd":
            self._inner: torch.optim.Optimizer = torch.optim.SGD(
                [self._rows], lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
            )
            self._moments: tuple[str, ...] = ("momentum_buffer",) if momentum else ()
        else:
            make = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
            self._inner = make([self._rows], lr=lr, weight_decay=weight_decay, fused=True)
            self._moments = ("exp_avg", "exp_avg_sq")
        self._counts = kind != "sgd"

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Apply ``weight.grad``; do nothing if it is None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradient = self._weight.grad
        if gradient is not None:
            self.begin()
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                self.apply(gradient.indices()[0], gradient.values())
            else:
                self.apply(slice(None), gradient)
        return loss

    @torch.no_grad()
    def begin(self) -> None:
        """Start a new step: count it, and create the state if it is the first."""
        state = self.state[self._weight]
        for name in self._moments:
            if name not in state:
                state[name] = torch.zeros_like(self._weight)
        if self._counts:
            state["step"] = state.get("step", torch.zeros(())) + 1.0

    @torch.no_grad()
    def apply(self, rows: Rows, gradient: Tensor) -> None:
        """Update ``rows`` (a slice or unique int64 indices) with their ``gradient`` [n, D]; call `begin` first."""
        state = self.state[self._weight]
        parts = {name: state[name][rows] for name in self._moments}
        self._rows.data = self._weight.data[rows]
        self._rows.grad = gradient
        inner: dict[str, Any] = dict(parts)
        if self._counts:
            # The inner optimizer adds 1 again.
            inner["step"] = state["step"] - 1.0
        self._inner.state[self._rows] = inner
        self._inner.param_groups[0].update(
            {name: value for name, value in self.param_groups[0].items() if name in ("lr", "weight_decay")}
        )
        self._inner.step()
        # The write bypassed autograd. This marks the weight as changed for any graph that needs the old values.
        self._weight[:0].zero_()
        if isinstance(rows, Tensor):
            self._weight.data[rows] = self._rows.data
            for name, part in parts.items():
                state[name][rows] = part
        self._rows.grad = None
        self._inner.state.clear()
