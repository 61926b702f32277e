"""Decode the images of one batch and turn them into random views, in any process with the same result."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
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
        state = np.random.SeedSequence([self.seed, self.epoch, position, number]).generate_state(2, np.uint64)
        return int(state[0] >> np.uint64(1)), int(state[1] >> np.uint64(1))


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
        samples = torch.empty((count, len(request.rows), shape.channels, shape.size, shape.size), dtype=torch.uint8)
        kept: list[int] = []
        failures: list[tuple[int, str]] = []
        worker, clock = get_worker_info(), Clock()
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
                views = views.rot90(int(request.turns[number]), (2, 3))
            samples[:, len(kept)] = views
            kept.append(number)
        samples = samples[:, : len(kept)].flatten(0, 1)
        return Loaded(samples, np.array(kept, dtype=np.int64), tuple(failures), "", clock.decoding, clock.transforming)

    def square(self, row: int) -> NDArray[np.uint8]:
        """Return the center square of an image, uint8 [channels, size, size]. Raises `DataError` when damaged."""
        return self.shape.square(decode(self.items.content(row), self.shape.shortest))

    def _views(self, row: int, position: int, views: Views | None, clock: Clock) -> Tensor:
        """Return the views of one image, uint8 [V, channels, size, size]."""
        shape = self.shape
        clock.start()
        if views is None:
            pixels = decode(self.items.content(row), shape.shortest)
            clock.decoded()
            square = torch.from_numpy(np.array(shape.square(pixels)))[None]
            clock.transformed()
            return square
        cropping, seed = views.seeds(position, 0)
        if views.smallest < 1.0:
            with torch.random.fork_rng(devices=[]):
                torch.random.manual_seed(cropping)
                picture, box = drawn_crop(self.items.content(row), shape.size, views.smallest)
            clock.decoded()
            square = torch.from_numpy(np.array(cut(picture, box, shape.size, shape.channels, shape.interpolation)))
        else:
            pixels = decode(self.items.content(row), math.ceil(shape.shortest))
            clock.decoded()
            square = torch.from_numpy(np.array(shape.square(pixels)))
        chain = self._chain(square, position, seed, views)
        clock.transformed()
        return chain

    @staticmethod
    def _chain(square: Tensor, position: int, seed: int, views: Views) -> Tensor:
        """Apply the view of ``views`` to a square, uint8 [channels, size, size]; return uint8 [V, ...]."""
        if views.view is None:
            return square[None]
        first = views.view.first if isinstance(views.view, ProgressiveViews) else views.view
        chain = [first(square[None].float().div_(255.0), torch.Generator().manual_seed(seed))]
        if isinstance(views.view, ProgressiveViews):
            for number in range(1, views.count):
                generator = torch.Generator().manual_seed(views.seeds(position, number)[1])
                chain.append(views.view.harder(chain[-1], generator))
        return torch.cat(chain).mul_(255.0).round_().clamp_(0.0, 255.0).to(torch.uint8)
