"""Run cells in parallel processes that end with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.connection import wait as wait_for
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from steradian.errors import SteradianError, TrainingError
from steradian.files import explained
from steradian.training.dataset import TrainingData
from steradian.training.progress import Progress

GRACE_SECONDS = 20.0
"""Time that workers get after Ctrl-C to write their checkpoints."""


class Job(Protocol):
    """One thing to do, with a folder of its own."""

    @property
    def name(self) -> str: ...


Task = Callable[[Any, TrainingData, Path, str, Callable[[int], None]], None]
"""Does one job: (job, data, folder, command, called with the number of steps done since the last call)."""


@dataclass(frozen=True)
class Work:
    """Everything that a worker needs; ``task`` is a module-level function, such as `cells.run_cell`."""

    task: Task
    data: TrainingData
    folder: Path
    command: str
    threads: int


_work: Work | None = None
_steps: Any = None


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let processes begin without the program that started this one: they run nothing of it.

    A script without ``if __name__ == "__main__":`` would otherwise be run again by each of them.
    """
    main = sys.modules["__main__"]
    content: Any = vars(main)
    kept = {name: content[name] for name in ("__file__", "__spec__") if name in content}
    content.pop("__file__", None)
    content["__spec__"] = None
    try:
        yield
    finally:
        content.update(kept)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_here(jobs: Sequence[Job], work: Work, progress: Progress) -> dict[str, str]:
    """Run the cells one after another in this process; return name -> message of each failure."""
    failures = {}
    with _threads(work.threads):
        for job in jobs:
            try:
                work.task(job, work.data, work.folder / job.name, work.command, progress.advance)
            except Exception as error:  # noqa: BLE001 - one failure must not stop the others
                failures[job.name] = _error_message(error)
    return failures


def run_in_workers(jobs: Sequence[Job], work: Work, processes: int, progress: Progress) -> dict[str, str]:
    """Run the cells in ``processes`` processes; name -> message of those that failed.

    Ctrl-C lets each worker finish its step and write a checkpoint. Killing this process ends them too.
    """
    context = multiprocessing.get_context("spawn")
    steps: Synchronized[int] = context.Value("q", 0)
    shared = work.folder / f".pixels-{os.getpid()}.npy.tmp"
    pixels, light_work = work.data.pixels.pixels, work
    try:
        if isinstance(pixels, np.ndarray):
            with explained("write", shared):
                work.folder.mkdir(parents=True, exist_ok=True)
                with shared.open("wb") as file:
                    np.save(file, pixels)
            light = replace(work.data.pixels, pixels=pixels[:0])
            light_work = replace(work, data=replace(work.data, pixels=light))
        pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(light_work, shared, steps))
        try:
            with _without_main():
                futures = {pool.submit(_run, job): job for job in jobs}
            failures = _collect(futures, steps, progress)
        except BaseException:
            _end(pool)
            raise
        pool.shutdown()
    finally:
        shared.unlink(missing_ok=True)
    return failures


def _error_message(error: Exception) -> str:
    return str(error) if isinstance(error, SteradianError) else f"{type(error).__name__}: {error}"


def _collect(futures: dict[Future[None], Job], steps: Synchronized[int], progress: Progress) -> dict[str, str]:
    failures, seen, running = {}, 0, set(futures)
    while running:
        finished, running = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
        now = steps.value
        progress.advance(now - seen, f"{len(futures) - len(running)}/{len(futures)} cells done")
        seen = now
        for future in finished:
            try:
                future.result()
            except BrokenProcessPool as error:
                raise TrainingError(
                    "A worker process died, probably because memory ran out. Finished cells are kept: run the same "
                    "again with --jobs 1 (jobs=1)."
                ) from error
            except Exception as error:  # noqa: BLE001 - one failure must not stop the others
                failures[futures[future].name] = _error_message(error)
    return failures


def _end(pool: ProcessPoolExecutor) -> None:
    workers = multiprocessing.active_children()
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()


def _begin(work: Work, shared: Path, steps: Any) -> None:
    """Set up a worker: it ignores Ctrl-C while idle and exits when its parent exits."""
    global _work, _steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(work.threads)
    if shared.exists():
        pixels = replace(work.data.pixels, pixels=np.load(shared, mmap_mode="r"))
        work = replace(work, data=replace(work.data, pixels=pixels))
    _work, _steps = work, steps


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _run(job: Job) -> None:
    if _work is None:
        raise RuntimeError("a worker was used before it was set up")

    def count(done: int) -> None:
        with _steps.get_lock():
            _steps.value += done

    try:
        _work.task(job, _work.data, _work.folder / job.name, _work.command, count)
    except KeyboardInterrupt:
        # The pool would hand this process the next cell; the checkpoint is written, so leave at once.
        os._exit(130)
