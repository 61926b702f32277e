"""Run any study: its jobs in parallel, finished jobs skipped, one report at the end.

A study says what it is (`identity`), which jobs it has (`phases`), and what they amount to (`finish`). The runner takes
care of the folder, the lock, the workers, failures and progress.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from steradian.data.cores import available_cores
from steradian.errors import UsageError
from steradian.files import locked, new_folder, write_json, write_text
from steradian.invocation import command_line
from steradian.models.encoders import OWN, default_encoder
from steradian.studies.study_folder import check_study_folder, default_folder
from steradian.studies.workers import Work, run_here, run_in_workers
from steradian.training.dataset import TrainingData
from steradian.training.plan import provenance
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe
from steradian.training.tracking import table
from steradian.waiting import waiting

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
    """What the runner asks of a study: ``name`` is that of its command, ``kind`` the one for messages."""

    name: ClassVar[str]
    kind: ClassVar[str]

    def identity(self) -> dict[str, Any]:
        """Return the settings that must be the same for results to stand in one table; the data must be, too."""

    def phases(self, data: TrainingData, out: Path) -> Generator[Phase, Failures, None]:
        """Yield phases one after another; each receives the failures so far, and may look at earlier results."""

    def finish(
        self, data: TrainingData, out: Path, failures: Failures, origin: dict[str, Any]
    ) -> tuple[ResultT, Summary]:
        """Collect and summarize the finished jobs in ``out``; ``origin`` is the provenance."""


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
    study: Study[ResultT],
    recipe: Recipe,
    data: TrainingData,
    out: str | Path | None,
    workforce: Workforce,
    *,
    exist_ok: bool = False,
) -> ResultT:
    """Run every job that ``out`` does not hold yet, then write ``results.csv``, ``report.html`` and the numbers.

    Args:
        recipe: shared by all jobs.
        out: a new folder, or one that holds an earlier or unfinished run of the same study; None: the default.
        exist_ok: write into a folder that holds other things.

    Raises:
        UsageError: ``out`` holds another study, or other files; the recipe adapts in closed form, without a loss.
    """
    if recipe.adapts:
        raise UsageError(
            f"adapt: auto fits in closed form, but '{study.name}' trains by the loss: leave adapt out, or use train."
        )
    folder = Path(out) if out is not None else default_folder(recipe.data.source, f"{study.name}-")
    command, identity_file = command_line(), f"{study.name}.json"
    identity = {"format": f"steradian.{study.name}", "version": 1, "data": data.digest, **study.identity()}
    check_study_folder(folder, identity_file, identity, study.kind, exist_ok=exist_ok)
    new_folder(folder, exist_ok=True)
    with locked(folder):
        write_json(folder / identity_file, identity)
        failures = run_phases(study, recipe, data, folder, command, workforce)
        with waiting("writing the report", workforce.quiet):
            result, summary = study.finish(data, folder, failures, provenance(recipe, data, command))
        write_text(folder / "results.csv", table(summary.rows))
        write_text(folder / "report.html", summary.page)
        if summary.numbers is not None:
            write_json(folder / "metrics.json", summary.numbers)
    return result


def run_phases(
    study: Study[Any], recipe: Recipe, data: TrainingData, out: Path, command: str, workforce: Workforce
) -> Failures:
    """Run the phases of ``study`` in ``out``; return the jobs that failed."""
    failures: Failures = {}
    phases = study.phases(data, out)
    try:
        phase = next(phases)
        while True:
            work = Work(phase.run, data, out / phase.folder, command, threads=1)
            failures |= _run_phase(phase, recipe, work, workforce)
            phase = phases.send(dict(failures))
    except StopIteration:
        return failures


def _run_phase(phase: Phase, recipe: Recipe, work: Work, workforce: Workforce) -> Failures:
    jobs, failures = [], {}
    for job in phase.jobs:
        source = phase.needs(job)
        if phase.is_finished(job, work.folder / job.name):
            continue
        if source is None or phase.is_finished(job, work.folder / source):
            jobs.append(job)
        else:
            failures[job.name] = "its base failed"
    if not jobs:
        return failures
    encoder = recipe.encoder if recipe.encoder is not None else default_encoder(work.data.pixels.size)
    side_by_side = phase.one_thread_each or (encoder in OWN and not torch.cuda.is_available())
    asked = workforce.jobs if workforce.jobs is not None else (available_cores() if side_by_side else 1)
    count = min(len(jobs), asked)
    work = replace(work, threads=1 if side_by_side else torch.get_num_threads())
    with Progress(phase.steps * len(jobs), phase.title, quiet=workforce.quiet) as progress:
        ran = run_here(jobs, work, progress) if count == 1 else run_in_workers(jobs, work, count, progress)
    return failures | ran
