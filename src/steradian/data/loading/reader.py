"""Decode the images of one batch and turn them into random views, in any process with the same result."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from steradian.data.decode import decode
from steradian.data.images import Items
from steradian.data.loading.crops import cut, drawn_crop
from steradian.data.preprocessing import Preprocessing
from steradian.data.progressive import ProgressiveViews
from steradian.data.views import RandomView
from steradian.errors import DataError, UnreachableError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Views:
    """How random views of photographs are made. All of them depend on (seed, epoch, position, view) alone.

    Attributes:
        view: what is applied to a crop; None: nothing.
        smallest: smallest area of a crop of the original, as a share of it; 1: no crop, the center square.
    """

    view: RandomView | ProgressiveViews | None
    smallest: float
    seed: int
    epoch: int

    @property
    def count(self) -> int:
        """Number of views of each image."""
        return self.view.views if isinstance(self.view, ProgressiveViews) else 1

    def seeds(self, position: int, number: int) -> tuple[int, int]:
        """Return the seeds of the crop and of the other operations of a view of the image at a position."""
        # numpy's SeedSequence would take a tenth of the time that a small photograph takes.
        digest = blake2b(f"{self.seed} {self.epoch} {position} {number}".encode(), digest_size=16).digest()
        return int.from_bytes(digest[:8], "little") >> 1, int.from_bytes(digest[8:], "little") >> 1


@dataclass(frozen=True)
class Request:
    """The images of one batch.

    Attributes:
        rows: [n], which images of the source.
        turns: [n] quarter turns of each, or None.
        positions: [n] of the images in their epoch.
        views: random views; None: the center squares.
    """

    rows: Rows
    turns: NDArray[np.int8] | None = None
    positions: Rows | None = None
    views: Views | None = None


@dataclass(frozen=True)
class Loaded:
    """What was read for a `Request`.

    Attributes:
        samples: uint8 [V * k, channels, size, size]: all first views, then all second ones.
        kept: [k], which images of the request could be decoded.
        failures: (image of the source, reason) of the others.
        unreachable: why the source does not answer; empty if it does.
        decoding, transforming: seconds of the process that read them.
    """

    samples: Tensor
    kept: Rows
    failures: tuple[tuple[int, str], ...] = ()
    unreachable: str = ""
    decoding: float = 0.0
    transforming: float = 0.0


@dataclass
class Clock:
    """Seconds spent on decoding and on transforming."""

    decoding: float = 0.0
    transforming: float = 0.0
    _since: float = field(default=0.0, repr=False)

    def start(self) -> None:
        self._since = time.perf_counter()

    def decoded(self) -> None:
        now = time.perf_counter()
        self.decoding, self._since = self.decoding + now - self._since, now

    def transformed(self) -> None:
        self.transforming += time.perf_counter() - self._since


class Reader(Dataset[Loaded]):
    """Read whole batches of ``items`` as squares of ``shape``; `torch.utils.data.DataLoader` copies it to its workers.

    Attributes:
        at: shared by all processes: the image that each worker is reading.
    """

    def __init__(self, items: Items, shape: Preprocessing, at: Any = None) -> None:
        self.items, self.shape, self.at = items, shape, at

    def __getitem__(self, request: Request) -> Loaded:
        count = request.views.count if request.views is not None else 1
        shape = self.shape
        worker, clock = get_worker_info(), Clock()
        samples = _buffer((count, len(request.rows), shape.size, shape.size, shape.channels), worker is not None)
        pixels = samples.numpy()
        kept: list[int] = []
        failures: list[tuple[int, str]] = []
        for number, row in enumerate(request.rows.tolist()):
            if worker is not None and self.at is not None:
                self.at[worker.id] = row
            position = int(request.positions[number]) if request.positions is not None else 0
            try:
                views = self._views(row, position, request.views, clock)
            except DataError as error:
                failures.append((row, str(error)))
                continue
            except UnreachableError as error:
                return Loaded(samples[:, :0].flatten(0, 1), np.zeros(0, dtype=np.int64), (), str(error))
            if request.turns is not None and request.turns[number]:
                views = np.rot90(views, int(request.turns[number]), axes=(2, 3))
            pixels[:, len(kept)] = views
            kept.append(number)
        samples = samples[:, : len(kept)].flatten(0, 1)
        return Loaded(samples, np.array(kept, dtype=np.int64), tuple(failures), "", clock.decoding, clock.transforming)

    def square(self, row: int) -> NDArray[np.uint8]:
        """Return the square of an image, uint8 [channels, size, size]. Raises `DataError` when damaged."""
        return self.shape.prominent_square(decode(self.items.content(row), self.shape.shortest))

    def _views(self, row: int, position: int, views: Views | None, clock: Clock) -> NDArray[np.uint8]:
        """Return the views of one image, uint8 [V, channels, size, size]."""
        shape = self.shape
        clock.start()
        if views is None or views.smallest == 1.0 or shape.finds:
            pixels = decode(self.items.content(row), shape.shortest)
            clock.decoded()
            square = shape.prominent_square(pixels)
        else:
            with _seeded(views.seeds(position, 0)[0]):
                picture, box = drawn_crop(self.items.content(row), shape.size, views.smallest)
            clock.decoded()
            square = cut(picture, box, shape.size, shape.channels, shape.interpolation)
        if views is not None and views.view is not None:
            square = self._chain(square, position, views, views.view)
        else:
            square = square[None]
        clock.transformed()
        return square

    @staticmethod
    def _chain(
        square: NDArray[np.uint8], position: int, views: Views, view: RandomView | ProgressiveViews
    ) -> NDArray[np.uint8]:
        """Apply ``view`` to a square, uint8 [channels, size, size]; return uint8 [V, channels, size, size]."""
        first = view.first if isinstance(view, ProgressiveViews) else view
        seed = views.seeds(position, 0)[1]
        sample = torch.from_numpy(np.array(square))[None].float().div_(255.0)
        chain = [first(sample, torch.Generator().manual_seed(seed))]
        if isinstance(view, ProgressiveViews):
            for number in range(1, views.count):
                generator = torch.Generator().manual_seed(views.seeds(position, number)[1])
                chain.append(view.harder(chain[-1], generator))
        levels: NDArray[np.uint8] = torch.cat(chain).mul_(255.0).round_().clamp_(0.0, 255.0).to(torch.uint8).numpy()
        return levels


def _buffer(shape: tuple[int, int, int, int, int], shared: bool) -> Tensor:
    """Return an uninitialized tensor uint8 [V, n, channels, size, size], the channels of a pixel side by side.

    ``shared`` memory goes to the main process without a copy. ``shape`` is (V, n, size, size, channels).
    """
    size = math.prod(shape)
    # What torch's own collate function does.
    storage = torch.UntypedStorage._new_shared(size) if shared and size else torch.UntypedStorage(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape).permute(0, 1, 4, 2, 3)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator in this block; a worker, where nobody else uses it, need not restore it."""
    if get_worker_info() is not None:
        torch.default_generator.manual_seed(seed)
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
