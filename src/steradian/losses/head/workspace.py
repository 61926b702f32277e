"""Memory for the kept products that is used again at every step: fresh pages cost more than filling them."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor


class Lease:
    """The right to use ``tensor`` for as long as this object lives."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Workspace:
    """One buffer, lent to one graph at a time; a second graph gets memory of its own."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._lent: weakref.ref[Lease] | None = None

    def lend(self, shape: tuple[int, ...], like: Tensor) -> Lease:
        """A tensor of ``shape`` with the dtype and device of ``like``, content undefined."""
        if self._lent is not None and self._lent() is not None:
            return Lease(like.new_empty(shape))
        count = torch.Size(shape).numel()
        if self._buffer is None or self._buffer.numel() < count or self._buffer.dtype != like.dtype:
            self._buffer = None
            self._buffer = like.new_empty(count)
        lease = Lease(self._buffer[:count].view(shape))
        self._lent = weakref.ref(lease)
        return lease
