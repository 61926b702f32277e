"""Where the gradient of the class weights goes, tile by tile."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor, nn

from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.workspace import large_empty


class Sink(Protocol):
    """Takes the gradient of ``weight`` [R, D] in tiles of rows, each once per backward pass.

    ``holds_gradient`` says whether the gradient of the whole weight is in memory at the end, ``grows`` whether it takes
    fresh memory tile by tile.
    """

    holds_gradient: ClassVar[bool]
    grows: ClassVar[bool]

    def open(self, weight: Tensor, start: int, stop: int) -> Tensor:
        """Where to write the gradient of rows ``start`` to ``stop``: [stop - start, D], content undefined."""
        ...

    def close(self, weight: Tensor, start: int, stop: int, tile: Tensor) -> None:
        """The tile that `open` gave is written."""
        ...

    def result(self) -> Tensor | None:
        """What autograd is told, after the last tile."""
        ...


class Returned:
    """A fresh [R, D] for autograd, which passes it on as with any other operation."""

    holds_gradient: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __init__(self) -> None:
        self._whole: Tensor | None = None

    def open(self, weight: Tensor, start: int, stop: int) -> Tensor:
        if self._whole is None:
            self._whole = large_empty(weight.shape, weight)
        return self._whole[start:stop]

    def close(self, weight: Tensor, start: int, stop: int, tile: Tensor) -> None:
        pass

    def result(self) -> Tensor | None:
        whole, self._whole = self._whole, None
        return whole


class InPlace:
    """Straight into ``parameter.grad``, in memory that is kept from step to step; autograd is told nothing.

    A gradient that is there is added to, as usual. Hooks on the parameter do not see these gradients.
    """

    holds_gradient: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self._kept: Tensor | None = None
        self._whole: Tensor | None = None

    def open(self, weight: Tensor, start: int, stop: int) -> Tensor:
        if start == 0:
            self._whole = self._fresh() if self.parameter.grad is None else None
        if self._whole is None:
            return weight.new_empty(stop - start, weight.shape[1])
        return self._whole[start:stop]

    def _fresh(self) -> Tensor:
        """The kept memory as the parameter's gradient."""
        kinds = [(t.shape, t.dtype, t.device) for t in (self._kept, self.parameter) if t is not None]
        if self._kept is None or len(set(kinds)) > 1:
            self._kept = large_empty(self.parameter.shape, self.parameter)
        self.parameter.grad = self._kept
        return self._kept

    def close(self, weight: Tensor, start: int, stop: int, tile: Tensor) -> None:
        if self._whole is None and self.parameter.grad is not None:
            self.parameter.grad[start:stop] += tile

    def result(self) -> None:
        return None


class Applied:
    """Straight into the weight: each tile's gradient is a step of the optimizer, and the whole never exists.

    The weight has moved when the backward pass ends: its gradient is not clipped, not looked at first, and any other
    use of the graph (torch.autograd.grad too) is a step as well.
    """

    holds_gradient: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def __init__(self, optimizer: RowOptimizer) -> None:
        self.optimizer = optimizer
        self._tile: Tensor | None = None

    def open(self, weight: Tensor, start: int, stop: int) -> Tensor:
        if start == 0:
            self.optimizer.begin()
        if self._tile is None or len(self._tile) < stop - start:
            self._tile = weight.new_empty(stop - start, weight.shape[1])
        return self._tile[: stop - start]

    def close(self, weight: Tensor, start: int, stop: int, tile: Tensor) -> None:
        self.optimizer.apply(slice(start, stop), tile)

    def result(self) -> None:
        return None
