"""Receivers of the gradient of the class weights, which arrives tile by tile, from the last to the first."""

from __future__ import annotations

import weakref
from typing import ClassVar, Protocol

from torch import Tensor, nn

from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.workspace import large_empty


class Gradient(Protocol):
    """The weight gradient of one graph, [R, D], written in tiles of rows, each once.

    Attributes:
        buffer: memory of the full gradient [R, D], free for other use until the first `open`; None if it has none.
    """

    buffer: Tensor | None

    def open(self, start: int, stop: int) -> Tensor:
        """Return uninitialized memory [stop - start, D] for the gradient of rows ``start`` to ``stop``."""
        ...

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        """Accept the tile from `open`, which is now written."""
        ...

    def result(self) -> Tensor | None:
        """Return the gradient for autograd, or None, after the last tile."""
        ...


class WeightGradient(Protocol):
    """Create a `Gradient` for each graph; ``holds_gradient`` tells whether it needs memory for the full gradient."""

    holds_gradient: ClassVar[bool]

    def start(self, weight: Tensor) -> Gradient:
        """Create the gradient for a graph of ``weight`` [R, D]."""
        ...


class Dense:
    """Return a new gradient [R, D] to autograd, as any other operation does."""

    holds_gradient: ClassVar[bool] = True

    def start(self, weight: Tensor) -> Gradient:
        return _DenseTiles(weight)


class _DenseTiles:
    def __init__(self, weight: Tensor) -> None:
        gradient = large_empty(weight.shape, weight)
        self.buffer: Tensor | None = gradient
        self._gradient = gradient

    def open(self, start: int, stop: int) -> Tensor:
        return self._gradient[start:stop]

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        pass

    def result(self) -> Tensor | None:
        return self._gradient


class InPlace:
    """Write the gradient directly into ``parameter.grad``, reusing its memory at every step; autograd gets None.

    An existing gradient is added to, as usual; saved products then need separate memory, which the plan does not
    count. Hooks on the parameter do not see these gradients, and `torch.autograd.grad` writes them too. If the gradient
    was None, the next forward pass reuses its memory for products: copy a gradient that you want to keep.
    """

    holds_gradient: ClassVar[bool] = True

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self._memory: Tensor | None = None
        self._lent: weakref.ref[_InPlaceTiles] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"parameter": self.parameter, "_memory": None, "_lent": None}

    def start(self, weight: Tensor) -> Gradient:
        if self.parameter.grad is not None or (self._lent is not None and self._lent() is not None):
            return _InPlaceTiles(self.parameter, None)
        layouts = {(t.shape, t.dtype, t.device) for t in (self._memory, self.parameter) if t is not None}
        if self._memory is None or len(layouts) > 1:
            self._memory = large_empty(self.parameter.shape, self.parameter)
        lent = _InPlaceTiles(self.parameter, self._memory)
        self._lent = weakref.ref(lent)
        return lent


class _InPlaceTiles:
    def __init__(self, parameter: nn.Parameter, buffer: Tensor | None) -> None:
        self.buffer = buffer
        self._parameter = parameter
        self._gradient: Tensor | None = None

    def open(self, start: int, stop: int) -> Tensor:
        if self._parameter.grad is not None:
            return self._parameter.grad.new_empty(stop - start, self._parameter.shape[1])
        if self._gradient is None:
            like = self._parameter
            self._gradient = self.buffer if self.buffer is not None else large_empty(like.shape, like)
        return self._gradient[start:stop]

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        if self._parameter.grad is not None:
            self._parameter.grad[start:stop] += tile

    def result(self) -> None:
        # Set it only now: a backward pass that fails must not leave a partial gradient or saved products in it.
        if self._parameter.grad is None:
            self._parameter.grad = self._gradient


class FusedUpdate:
    """Apply each tile's gradient to the weight at once with the optimizer, so that the full gradient never exists.

    The weight is already updated when the backward pass ends: its gradient cannot be clipped or checked first, and any
    other use of the graph (also torch.autograd.grad) updates the weight too.
    """

    holds_gradient: ClassVar[bool] = False

    def __init__(self, optimizer: RowOptimizer) -> None:
        self.optimizer = optimizer

    def start(self, weight: Tensor) -> Gradient:
        return _FusedTiles(self.optimizer, weight)


class _FusedTiles:
    buffer: Tensor | None = None

    def __init__(self, optimizer: RowOptimizer, weight: Tensor) -> None:
        self._optimizer = optimizer
        self._weight = weight
        self._tile: Tensor | None = None

    def open(self, start: int, stop: int) -> Tensor:
        if self._tile is None:
            self._optimizer.begin()
        if self._tile is None or len(self._tile) < stop - start:
            self._tile = self._weight.new_empty(stop - start, self._weight.shape[1])
        return self._tile[: stop - start]

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        self._optimizer.apply(slice(start, stop), tile)

    def result(self) -> None:
        return None
