"""Cells run side by side in processes that die with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
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
from steradian.training.prepared import Prepared
from steradian.training.progress import Progress

GRACE_SECONDS = 20.0
"""After Ctrl-C, for workers to write their checkpoints."""


class Spec(Protocol):
    """What is to be done, under a name of its own."""

    @property
    def name(self) -> str: ...


Task = Callable[[Any, Prepared, Path, str, Callable[[int], None]], None]
"""Does one spec: (spec, data, folder, command, called with the number of steps done since the last call)."""


@dataclass(frozen=True)
class Work:
    """Everything that a worker needs; ``task`` is a function of a module, such as `cells.run_cell`."""

    task: Task
    prepared: Prepared
    folder: Path
    command: str
    threads: int


_work: Work | None = None
_steps: Any = None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_here(specs: Sequence[Spec], work: Work, progress: Progress) -> dict[str, str]:
    """Run the cells one after another in this process; name -> message of those that failed."""
    failures = {}
    with _threads(work.threads):
        for spec in specs:
            try:
                work.task(spec, work.prepared, work.folder / spec.name, work.command, progress.advance)
            except Exception as error:  # noqa: BLE001 - one technique must not take the others with it
                failures[spec.name] = _why(error)
    return failures


def run_in_workers(specs: Sequence[Spec], work: Work, jobs: int, progress: Progress) -> dict[str, str]:
    """Run the cells in ``jobs`` processes; name -> message of those that failed.

    Ctrl-C lets each worker finish its step and write a checkpoint. Killing this process ends them too.
    """
    context = multiprocessing.get_context("spawn")
    steps: Synchronized[int] = context.Value("q", 0)
    shared = work.folder / f".pixels-{os.getpid()}.npy.tmp"
    try:
        with explained("write", shared):
            work.folder.mkdir(parents=True, exist_ok=True)
            with shared.open("wb") as file:
                np.save(file, work.prepared.pixels.pixels)
        light = replace(work.prepared.pixels, pixels=work.prepared.pixels.pixels[:0])
        light_work = replace(work, prepared=replace(work.prepared, pixels=light))
        pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(light_work, shared, steps))
        try:
            futures = {pool.submit(_run, spec): spec for spec in specs}
            failures = _collect(futures, steps, progress)
        except BaseException:
            _end(pool)
            raise
        pool.shutdown()
    finally:
        shared.unlink(missing_ok=True)
    return failures


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, SteradianError) else f"{type(error).__name__}: {error}"


def _collect(futures: dict[Future[None], Spec], steps: Synchronized[int], progress: Progress) -> dict[str, str]:
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
                    "A worker process died, probably for want of memory. Finished cells are kept: run the same "
                    "command again with --jobs 1."
                ) from error
            except Exception as error:  # noqa: BLE001 - one technique must not take the others with it
                failures[futures[future].name] = _why(error)
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
    """Set up a worker: Ctrl-C is the parent's business while idle, and the parent's death is this one's."""
    global _work, _steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(work.threads)
    pixels = replace(work.prepared.pixels, pixels=np.load(shared, mmap_mode="r"))
    _work, _steps = replace(work, prepared=replace(work.prepared, pixels=pixels)), steps


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _run(spec: Spec) -> None:
    if _work is None:
        raise RuntimeError("a worker was used before it was set up")

    def count(done: int) -> None:
        with _steps.get_lock():
            _steps.value += done

    try:
        _work.task(spec, _work.prepared, _work.folder / spec.name, _work.command, count)
    except KeyboardInterrupt:
        # The pool would hand this process the next cell; the checkpoint is written, so leave at once.
        os._exit(130)
