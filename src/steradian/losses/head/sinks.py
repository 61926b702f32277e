"""Where the gradient of the class weights goes, tile by tile, from the last to the first."""

from __future__ import annotations

import weakref
from typing import ClassVar, Protocol

from torch import Tensor, nn

from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.workspace import large_empty


class Gradient(Protocol):
    """The gradient of one graph, [R, D], taken in tiles of rows, each once.

    Attributes:
        room: memory of the whole gradient [R, D], anybody's until the first `open`; None where there is none.
    """

    room: Tensor | None

    def open(self, start: int, stop: int) -> Tensor:
        """Where to write the gradient of rows ``start`` to ``stop``: [stop - start, D], content undefined."""
        ...

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        """The tile that `open` gave is written."""
        ...

    def result(self) -> Tensor | None:
        """What autograd is told, after the last tile."""
        ...


class Sink(Protocol):
    """Makes a `Gradient` for each graph; ``holds_gradient`` says whether the whole of it is in memory at the end."""

    holds_gradient: ClassVar[bool]

    def start(self, weight: Tensor) -> Gradient:
        """For a graph of ``weight`` [R, D]."""
        ...


class Returned:
    """A fresh [R, D] for autograd, which passes it on as with any other operation."""

    holds_gradient: ClassVar[bool] = True

    def start(self, weight: Tensor) -> Gradient:
        return _Returned(weight)


class _Returned:
    def __init__(self, weight: Tensor) -> None:
        whole = large_empty(weight.shape, weight)
        self.room: Tensor | None = whole
        self._whole = whole

    def open(self, start: int, stop: int) -> Tensor:
        return self._whole[start:stop]

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        pass

    def result(self) -> Tensor | None:
        return self._whole


class InPlace:
    """Straight into ``parameter.grad``, in memory that is kept from step to step; autograd is told nothing.

    A gradient that is there is added to, as usual; kept products then take memory of their own, which the plan does not
    count. Hooks on the parameter do not see these gradients, and `torch.autograd.grad` writes them too. Where the
    gradient was None in the forward pass, its memory was of use there already: copy a gradient that you want to keep.
    """

    holds_gradient: ClassVar[bool] = True

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self._memory: Tensor | None = None
        self._lent: weakref.ref[_InPlace] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"parameter": self.parameter, "_memory": None, "_lent": None}

    def start(self, weight: Tensor) -> Gradient:
        if self.parameter.grad is not None or (self._lent is not None and self._lent() is not None):
            return _InPlace(self.parameter, None)
        kinds = {(t.shape, t.dtype, t.device) for t in (self._memory, self.parameter) if t is not None}
        if self._memory is None or len(kinds) > 1:
            self._memory = large_empty(self.parameter.shape, self.parameter)
        lent = _InPlace(self.parameter, self._memory)
        self._lent = weakref.ref(lent)
        return lent


class _InPlace:
    def __init__(self, parameter: nn.Parameter, room: Tensor | None) -> None:
        self.room = room
        self._parameter = parameter
        self._whole: Tensor | None = None

    def open(self, start: int, stop: int) -> Tensor:
        if self._parameter.grad is not None:
            return self._parameter.grad.new_empty(stop - start, self._parameter.shape[1])
        if self._whole is None:
            self._whole = self.room if self.room is not None else large_empty(self._parameter.shape, self._parameter)
        return self._whole[start:stop]

    def close(self, start: int, stop: int, tile: Tensor) -> None:
        if self._parameter.grad is not None:
            self._parameter.grad[start:stop] += tile

    def result(self) -> None:
        # Not earlier: a pass that fails must not leave half a gradient, and kept products, for one.
        if self._parameter.grad is None:
            self._parameter.grad = self._whole


class Applied:
    """Straight into the weight: each tile's gradient is a step of the optimizer, and the whole never exists.

    The weight has moved when the backward pass ends: its gradient is not clipped, not looked at first, and any other
    use of the graph (torch.autograd.grad too) is a step as well.
    """

    holds_gradient: ClassVar[bool] = False

    def __init__(self, optimizer: RowOptimizer) -> None:
        self.optimizer = optimizer

    def start(self, weight: Tensor) -> Gradient:
        return _Applied(self.optimizer, weight)


class _Applied:
    room: Tensor | None = None

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
