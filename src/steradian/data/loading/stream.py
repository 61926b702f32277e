"""The pixels of a set that is too large to be decoded at once: read by worker processes when they are needed."""

from __future__ import annotations

import multiprocessing
import signal
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from steradian.data.images import ImageSet
from steradian.data.loading.damage import DamageLog
from steradian.data.loading.reader import Loaded, Reader, Request, Rows, Views
from steradian.data.preprocessing import Preprocessing
from steradian.errors import DataError, ReaderError, UnreachableError
from steradian.files import sha256_of

AHEAD = 2
"""Batches that each worker reads ahead."""


class _Requests(Sampler[Request]):
    """The requests of the next pass; persistent workers outlive a pass."""

    def __init__(self) -> None:
        self.next: Iterable[Request] = ()
        self.loader: DataLoader[Loaded] | None = None

    def __iter__(self) -> Iterator[Request]:
        return iter(self.next)


def _unchanged(loaded: Any) -> Any:
    return loaded


def _quiet_worker(worker: int) -> None:
    """Leave Ctrl-C to the main process, which lets the step end; and its handlers with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_workers(requests: _Requests) -> None:
    """Let the workers that read ``requests`` end by themselves."""
    loader, requests.loader = requests.loader, None
    if loader is not None:
        # The workers end with their iterator.
        loader._iterator = None


class ReadingPool:
    """Worker processes that read the images of one set, kept from pass to pass.

    Attributes:
        workers: number of processes; 0: images are read in this one.
        damage: the images that could not be decoded so far.
    """

    def __init__(self, images: ImageSet, shape: Preprocessing, workers: int) -> None:
        self.images, self.shape, self.workers = images, shape, workers
        self.damage = DamageLog(images, finds=shape.finds)
        self.reader = Reader(images.items, shape)
        self._requests = _Requests()
        # Before the interpreter ends its child processes by force, which torch reports as their failure.
        self._finalizer = weakref.finalize(self, _end_workers, self._requests)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process starts workers of its own.
        return type(self), (self.images, self.shape, self.workers)

    def read(self, requests: Iterable[Request]) -> Iterator[Loaded]:
        """Yield what is read for each request, in their order.

        Raises:
            DataError: too many images are damaged (see `DamageLog`).
            UnreachableError: the source stopped answering.
            ReaderError: a worker was ended by the system.
        """
        if self._requests.loader is None:
            self._requests.loader = self._make_loader()
        self._requests.next = requests
        passes = iter(self._requests.loader)
        while True:
            try:
                loaded = next(passes)
            except StopIteration:
                return
            except RuntimeError as error:
                raise self.ended(error) from error
            yield self.counted(loaded)

    def counted(self, loaded: Loaded) -> Loaded:
        """Add the failures of ``loaded`` to the damage; raise where it is no answer."""
        if loaded.unreachable:
            raise UnreachableError(loaded.unreachable)
        for row, reason in loaded.failures:
            self.damage.add(row, reason)
        return loaded

    def _make_loader(self) -> DataLoader[Loaded]:
        context = None
        if self.workers:
            # Event loops of network file systems do not survive a fork.
            context = multiprocessing.get_context("spawn" if self.images.items.needs_spawn else "fork")
            self.reader.at = context.Array("q", [-1] * self.workers, lock=False)
        return DataLoader(
            self.reader,
            batch_size=None,
            sampler=self._requests,
            num_workers=self.workers,
            collate_fn=_unchanged,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_quiet_worker,
            multiprocessing_context=context,
            # Its random numbers seed nothing here, and must not be taken from those of the training.
            generator=torch.Generator(),
            prefetch_factor=AHEAD if self.workers else None,
            persistent_workers=bool(self.workers),
        )

    def ended(self, error: RuntimeError) -> Exception:
        """Return the error for workers that the system ended; any other error as it is."""
        if "DataLoader worker" not in str(error) or self.reader.at is None:
            return error
        self._requests.loader = None
        files = [self.images.items.name(row) for row in self.reader.at if row >= 0]
        listed = "\n".join(f"  {name}" for name in files)
        return ReaderError(
            "A process that reads images was ended by the system, most often because memory ran out. The processes "
            f"were reading:\n{listed}\nRun the same command again to go on from here, with fewer of them "
            "(--set data.workers=1) if it happens again."
        )


@dataclass(frozen=True, eq=False)
class StreamedPixels:
    """Squares uint8 [N, channels, size, size] that are decoded when they are asked for.

    Attributes:
        pool: reads them.
        rows: int64 [N], which image of the source each one is.
        turns: int8 [N], quarter turns of each, or None.
    """

    pool: ReadingPool
    rows: Rows
    turns: NDArray[np.int8] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, channels, size, size."""
        shape = self.pool.shape
        return len(self.rows), shape.channels, shape.size, shape.size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> NDArray[np.uint8]:
        """Return some images: [channels, size, size] for a number, else [n, channels, size, size].

        Raises:
            DataError: one of them is damaged.
        """
        if isinstance(chosen, int | np.integer):
            return self._square(int(chosen))
        indices = np.arange(len(self))[chosen]
        with ThreadPoolExecutor() as pool:
            squares = list(pool.map(self._square, indices.tolist()))
        return np.stack(squares) if squares else np.zeros((0, *self.shape[1:]), dtype=np.uint8)

    def _square(self, index: int) -> NDArray[np.uint8]:
        row = int(self.rows[index])
        try:
            square = self.pool.reader.square(row)
        except DataError as error:
            raise DataError(f"{self.pool.images.items.name(row)} cannot be decoded: {error}.") from error
        turns = 0 if self.turns is None else int(self.turns[index])
        return np.ascontiguousarray(np.rot90(square, turns, axes=(1, 2)))

    def fingerprint(self) -> str:
        """Return a hash of what the images are stored as, without reading them."""
        turns = b"" if self.turns is None else self.turns.tobytes()
        return sha256_of(self.pool.images.items.fingerprint().encode(), self.rows.tobytes(), turns)

    def take(self, chosen: NDArray[np.intp]) -> StreamedPixels:
        """Return the images ``chosen``; nothing is decoded."""
        return StreamedPixels(self.pool, self.rows[chosen], None if self.turns is None else self.turns[chosen])

    def request(self, chosen: NDArray[np.intp], positions: Rows | None = None, views: Views | None = None) -> Request:
        """Return the request for some images (see `Request`)."""
        turns = None if self.turns is None else self.turns[chosen]
        return Request(self.rows[chosen], turns, positions, views)
