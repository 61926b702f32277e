"""Run any study: its jobs in parallel, finished jobs skipped, one report at the end.

A study defines its identity, its jobs (`phases`), and how to collect and report them (`result`, `summarize`). The
runner handles the folder, the lock, the workers, failures and progress.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from steradian.data.pixels import available_cores
from steradian.files import locked, new_folder, write_json, write_text
from steradian.invocation import command_line
from steradian.models.encoders import OWN, default_encoder
from steradian.studies.study_folder import check_study_folder
from steradian.studies.workers import Job, Work, run_here, run_in_workers
from steradian.training.dataset import TrainingData
from steradian.training.plan import provenance
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe
from steradian.training.tracking import table

Failures = dict[str, str]
"""Name of a job -> why it failed."""


@dataclass(frozen=True)
class Phase:
    """Jobs that do not wait for each other.

    Attributes:
        title: for the progress bar.
        jobs: all jobs of the phase, finished ones included.
        run: a module-level function that does one job, see `workers.Task`.
        folder: where each job has a folder of its own, inside the folder of the study.
        steps: about how many training steps a job takes.
        is_finished: whether a job's folder holds its result.
        needs: name of a job of an earlier phase whose result a job takes, or None.
        one_thread_each: run one job per core with one thread each, however large the encoder.
    """

    title: str
    jobs: Sequence[Any]
    run: Callable[..., None]
    folder: str
    steps: int
    is_finished: Callable[[Any, Path], bool]
    needs: Callable[[Any], str | None] = lambda job: None
    one_thread_each: bool = False


@dataclass(frozen=True)
class Summary:
    """Results of a study, in the forms that are written.

    Attributes:
        rows: of ``results.csv``.
        page: HTML of ``report.html``.
        numbers: of ``metrics.json``; None for a study that writes none.
    """

    rows: list[dict[str, Any]]
    page: str
    numbers: dict[str, Any] | None = None


ResultT = TypeVar("ResultT", covariant=True)


class Study(Protocol[ResultT]):
    """The protocol between the runner and a study.

    Attributes:
        kind: the kind of study, for messages.
        identity_file: name of the file that says what a folder holds.
        recipe: shared by all jobs.
    """

    @property
    def kind(self) -> str: ...

    @property
    def identity_file(self) -> str: ...

    @property
    def recipe(self) -> Recipe: ...

    def identity(self, data: TrainingData) -> dict[str, Any]:
        """Return what must be the same for results to stand in one table."""
        ...

    def phases(self, data: TrainingData, out: Path) -> Generator[Phase, Failures, None]:
        """Yield phases one after another; each receives the failures so far, and may look at earlier results."""
        ...

    def result(self, data: TrainingData, out: Path, failures: Failures, origin: dict[str, Any]) -> ResultT:
        """Collect the finished jobs in ``out``; ``origin`` is the provenance."""
        ...

    def summarize(self, result: Any) -> Summary:
        """Return tables, page and numbers of a result."""
        ...


@dataclass(frozen=True)
class Workforce:
    """How jobs are run.

    Attributes:
        jobs: at once; None: one per core for small encoders on a CPU, else one at a time.
        quiet: show no progress.
    """

    jobs: int | None = None
    quiet: bool = False


def run_study(
    study: Study[ResultT], data: TrainingData, out: Path, workforce: Workforce, *, exist_ok: bool = False
) -> ResultT:
    """Run every job that ``out`` does not hold yet, then write ``results.csv``, ``report.html`` and the numbers.

    Args:
        out: a new folder, or one that holds an earlier or unfinished run of the same study.
        exist_ok: write into a folder that holds other things.

    Raises:
        UsageError: ``out`` holds another study, or other files.
    """
    command, identity = command_line(), study.identity(data)
    check_study_folder(out, study.identity_file, identity, study.kind, exist_ok=exist_ok)
    new_folder(out, exist_ok=True)
    with locked(out):
        write_json(out / study.identity_file, identity)
        failures = run_phases(study, data, out, command, workforce)
        result = study.result(data, out, failures, provenance(study.recipe, data, command))
        summary = study.summarize(result)
        write_text(out / "results.csv", table(summary.rows))
        write_text(out / "report.html", summary.page)
        if summary.numbers is not None:
            write_json(out / "metrics.json", summary.numbers)
    return result


def run_phases(study: Study[Any], data: TrainingData, out: Path, command: str, workforce: Workforce) -> Failures:
    """Run the phases of ``study`` in ``out``; return the jobs that failed."""
    failures: Failures = {}
    phases = study.phases(data, out)
    try:
        phase = next(phases)
        while True:
            failures |= _run_phase(phase, study.recipe, data, out / phase.folder, command, workforce)
            phase = phases.send(dict(failures))
    except StopIteration:
        return failures


def _run_phase(
    phase: Phase, recipe: Recipe, data: TrainingData, folder: Path, command: str, workforce: Workforce
) -> Failures:
    waiting = [job for job in phase.jobs if not phase.is_finished(job, folder / job.name)]
    ready, failures = [], {}
    for job in waiting:
        source = phase.needs(job)
        if source is None or phase.is_finished(job, folder / source):
            ready.append(job)
        else:
            failures[job.name] = "its base failed"
    return failures | _run_jobs(ready, phase, recipe, Work(phase.run, data, folder, command, threads=1), workforce)


def _run_jobs(jobs: Sequence[Job], phase: Phase, recipe: Recipe, work: Work, workforce: Workforce) -> Failures:
    if not jobs:
        return {}
    encoder = recipe.encoder if recipe.encoder is not None else default_encoder(work.data.pixels.size)
    side_by_side = phase.one_thread_each or (encoder in OWN and not torch.cuda.is_available())
    asked = workforce.jobs if workforce.jobs is not None else (available_cores() if side_by_side else 1)
    count = min(len(jobs), asked)
    work = replace(work, threads=1 if side_by_side else torch.get_num_threads())
    with Progress(phase.steps * len(jobs), phase.title, quiet=workforce.quiet) as progress:
        return run_here(jobs, work, progress) if count == 1 else run_in_workers(jobs, work, count, progress)
