"""Batch requests that arrive while all lanes are busy; a request that finds a free lane runs at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

Job = tuple[NDArray[np.uint8], "asyncio.Future[NDArray[np.float32]]"]
"""Pixels [N, …] and the future that receives their rows."""


class Batcher:
    """Run a model on the requests that arrived during the batches before.

    A batch never waits for more requests: under light load it holds one request, under heavy load the waiting
    requests are shared among the lanes.

    Args:
        run: pixels [N, …] -> rows [N, D]; called in as many threads as there are lanes.
        most: images per batch; a request with more runs alone.
        lanes: batches that run at the same time.
        observe: called with the size of each batch.
    """

    def __init__(self, run: Run, most: int, lanes: int, observe: Callable[[int], None] = lambda _: None) -> None:
        self._run, self._most, self._lanes, self._observe = run, most, lanes, observe
        self._jobs: deque[Job] = deque()
        self._threads = ThreadPoolExecutor(lanes, "model")
        self._running: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Stop after everything submitted is answered."""
        while self._running:
            await asyncio.wait(self._running)
        self._threads.shutdown()

    async def submit(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rows of ``pixels``."""
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._jobs.append((pixels, future))
        if len(self._running) < self._lanes:
            self._begin()
        return await future

    def _begin(self) -> None:
        lane = asyncio.get_running_loop().create_task(self._work())
        self._running.add(lane)
        # A lane that is cancelled before it begins runs no line of its own, so this callback cleans up.
        lane.add_done_callback(self._running.discard)

    async def _work(self) -> None:
        try:
            while self._jobs:
                # Skip requests whose clients gave up.
                jobs = [job for job in self._next() if not job[1].cancelled()]
                if jobs:
                    await self._answer(jobs)
        finally:
            # In the same turn of the event loop, so that the next `submit` finds a working lane or begins one.
            self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._jobs:
                self._begin()

    async def _answer(self, jobs: list[Job]) -> None:
        try:
            batch = np.concatenate([pixels for pixels, _ in jobs]) if len(jobs) > 1 else jobs[0][0]
            self._observe(len(batch))
            rows = await asyncio.get_running_loop().run_in_executor(self._threads, self._run, batch)
            start = 0
            for pixels, future in jobs:
                if not future.done():
                    future.set_result(rows[start : start + len(pixels)])
                start += len(pixels)
        except Exception as error:  # noqa: BLE001 - any error must reach the waiting requests
            for _, future in jobs:
                if not future.done():
                    future.set_exception(error)
        finally:
            # If the lane itself was cancelled, some futures are still pending.
            for _, future in jobs:
                future.cancel()

    def _next(self) -> list[Job]:
        # Leave a share of the jobs for the other lanes.
        share = -(-len(self._jobs) // self._lanes)
        jobs = [self._jobs.popleft()]
        count = len(jobs[0][0])
        while self._jobs and len(jobs) < share and count + len(self._jobs[0][0]) <= self._most:
            jobs.append(self._jobs.popleft())
            count += len(jobs[-1][0])
        return jobs
