"""Large buffers: fresh pages cost more than filling them, so they are few (huge pages) or used again at every step."""

from __future__ import annotations

import mmap
import weakref

import torch
from torch import Tensor

HUGE_FROM = 32 * 2**20
"""Bytes from which on a mapping of its own is worth a system call."""

HUGE_PAGE = 2 * 2**20


def large_empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialized tensor with the dtype and device of ``like``; on Linux in huge pages where that pays.

    Filling 160 MB of fresh pages took 90 ms in pages of 4 KiB, 25 ms in pages of 2 MiB and 8 ms the second time.
    """
    return _Buffer(shape, like).tensor


class _Buffer:
    """An uninitialized tensor, and the mapping that it lies in where that is its own."""

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        size = torch.Size(shape).numel() * like.element_size()
        self.memory: mmap.mmap | None = None
        if like.device.type != "cpu" or size < HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
            self.tensor = like.new_empty(shape)
            return
        try:
            self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"can't allocate memory: {size:,} bytes ({error})") from error
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.tensor = torch.frombuffer(self.memory, dtype=like.dtype).view(shape)


class Lease:
    """The right to use ``tensor`` for as long as this object lives."""

    def __init__(self, buffer: _Buffer, shape: tuple[int, ...]) -> None:
        self._buffer = buffer
        self.tensor = buffer.tensor.view(-1)[: torch.Size(shape).numel()].view(shape)

    def part(self, number: int, shape: tuple[int, ...]) -> Tensor:
        """The start of ``tensor[number]`` in a smaller shape."""
        return self.tensor[number].view(-1)[: torch.Size(shape).numel()].view(shape)

    def give_back(self, count: int) -> None:
        """The first ``count`` of ``tensor`` are read: their pages are the system's until they are written again."""
        if self._buffer.memory is not None and len(self.tensor):
            read = count * self.tensor[0].nbytes // HUGE_PAGE * HUGE_PAGE
            self._buffer.memory.madvise(mmap.MADV_DONTNEED, 0, read)


class Workspace:
    """One buffer, lent to one graph at a time; a second graph gets memory of its own."""

    def __init__(self) -> None:
        self._buffer: _Buffer | None = None
        self._lent: weakref.ref[Lease] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"_buffer": None, "_lent": None}

    def lend(self, shape: tuple[int, ...], like: Tensor) -> Lease:
        """A tensor of ``shape`` with the dtype and device of ``like``, content undefined."""
        if self._lent is not None and self._lent() is not None:
            return Lease(_Buffer(shape, like), shape)
        if self._buffer is None or not _holds(self._buffer.tensor, shape, like):
            self._buffer = None
            self._buffer = _Buffer(shape, like)
        lease = Lease(self._buffer, shape)
        self._lent = weakref.ref(lease)
        return lease


def _holds(buffer: Tensor, shape: tuple[int, ...], like: Tensor) -> bool:
    same = (buffer.dtype, buffer.device) == (like.dtype, like.device)
    return same and buffer.numel() >= torch.Size(shape).numel()
