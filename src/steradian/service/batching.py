"""Requests that come while the model is busy share a batch; one that comes alone waits for nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Batcher:
    """Runs a model on what has come while it was busy with the batches before.

    No time is waited for company: under light load batches are of one request, under heavy load of what waits, shared
    among the lanes.

    Args:
        run: pixels [N, …] -> rows [N, D]; called in as many threads as there are lanes.
        most: images of a batch; a request with more is a batch of its own.
        lanes: batches that run at the same time.
        observe: told the size of each batch.
    """

    def __init__(self, run: Run, most: int, lanes: int, observe: Callable[[int], None] = lambda _: None) -> None:
        self._run, self._most, self._lanes, self._observe = run, most, lanes, observe
        self._jobs: deque[tuple[NDArray[np.uint8], asyncio.Future[NDArray[np.float32]]]] = deque()
        self._threads = ThreadPoolExecutor(lanes, "model")
        self._running: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """End; what was submitted is answered before."""
        while self._running:
            await asyncio.wait(self._running)
        self._threads.shutdown()

    async def submit(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The rows of ``pixels``."""
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._jobs.append((pixels, future))
        if len(self._running) < self._lanes:
            self._running.add(asyncio.get_running_loop().create_task(self._work()))
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs:
            jobs = self._next()
            # Whoever gave up waiting needs no answer.
            kept = [(pixels, future) for pixels, future in jobs if not future.cancelled()]
            if not kept:
                continue
            try:
                batch = np.concatenate([pixels for pixels, _ in kept]) if len(kept) > 1 else kept[0][0]
                self._observe(len(batch))
                rows: Any = await loop.run_in_executor(self._threads, self._run, batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                rows = error
            _answer(kept, rows)
        # Before anybody else has a turn: who submits next must find a lane that works, or begin one.
        self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _next(self) -> list[tuple[NDArray[np.uint8], asyncio.Future[NDArray[np.float32]]]]:
        share = -(-len(self._jobs) // self._lanes)
        jobs = [self._jobs.popleft()]
        count = len(jobs[0][0])
        while self._jobs and len(jobs) < share and count + len(self._jobs[0][0]) <= self._most:
            jobs.append(self._jobs.popleft())
            count += len(jobs[-1][0])
        return jobs


def _answer(jobs: list[tuple[NDArray[np.uint8], asyncio.Future[NDArray[np.float32]]]], rows: Any) -> None:
    start = 0
    for pixels, future in jobs:
        stop = start + len(pixels)
        if not future.done():
            if isinstance(rows, Exception):
                future.set_exception(rows)
            else:
                future.set_result(rows[start:stop])
        start = stop
