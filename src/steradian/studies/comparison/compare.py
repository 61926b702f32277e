"""Compare techniques on one data set: same encoder, same budget, several seeds, one report."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from steradian.data.images import ImageSet
from steradian.data.sources import source_name
from steradian.errors import DataError, SteradianError, TrainingError, UsageError
from steradian.files import read_json
from steradian.invocation import command_line
from steradian.losses import preset
from steradian.models.encoders import check_encoder
from steradian.studies.comparison.cells import is_finished, load_cell, run_cell
from steradian.studies.comparison.report import build_report
from steradian.studies.comparison.result import TECHNIQUES, Comparison, ComparisonResult, rows
from steradian.studies.comparison.tuning import (
    TRIALS,
    Trial,
    TuningSpec,
    best_trial,
    check_tunable,
    read_trials,
    tune_technique,
)
from steradian.studies.study import Failures, Phase, Study, Summary, Workforce, run_phases, run_study
from steradian.studies.study_folder import default_folder
from steradian.training.dataset import Dataset, TrainingData
from steradian.training.plan import few_steps_warning, make_plan, one_batch, training_steps
from steradian.training.preflight import preflight
from steradian.training.progress import progress_unless
from steradian.training.recipe import Recipe

CELLS = "cells"
TUNING = "tuning"


@dataclass(frozen=True)
class ComparisonStudy(Study[ComparisonResult]):
    """A comparison as a study: its jobs are the cells, after a search for margin and scale where one was asked for."""

    comparison: Comparison
    name: ClassVar[str] = "compare"
    kind: ClassVar[str] = "comparison"

    def identity(self) -> dict[str, Any]:
        recipe = self.comparison.recipe.model_dump(mode="json", exclude={"loss": {"name"}, "embedding_size": True})
        return {"trials": self.comparison.trials, "recipe": recipe}

    def phases(self, data: TrainingData, out: Path) -> Generator[Phase, Failures, None]:
        comparison, failures = self.comparison, Failures()
        steps = training_steps(comparison.recipe, data)
        if comparison.trials:
            check_tunable(data)
            searches = [
                TuningSpec(loss, dims, comparison.trials, comparison.recipe_of(loss, dims))
                for dims in comparison.dims
                for loss in comparison.losses
            ]
            # A search goes on from the trials that its folder holds, so none is left out as finished.
            budget = steps * comparison.trials
            failures = yield Phase("tuning", searches, tune_technique, TUNING, budget, lambda job, folder: False)
            comparison = replace(comparison, tuned=read_best_trials(out / TUNING))
        cells = [spec for spec in comparison.cells() if f"{spec.loss}-{spec.dims}d" not in failures]
        yield Phase("comparing", cells, run_cell, CELLS, steps, is_finished)

    def finish(
        self, data: TrainingData, out: Path, failures: Failures, origin: dict[str, Any]
    ) -> tuple[ComparisonResult, Summary]:
        """Collect the finished cells in ``out``, those of earlier commands included.

        Raises:
            TrainingError: every cell failed.
        """
        tuned = read_best_trials(out / TUNING) if self.comparison.trials else {}
        combined = _with_earlier_cells(replace(self.comparison, tuned=tuned), out / CELLS)
        folders = [(spec, out / CELLS / spec.name) for spec in combined.cells()]
        finished = [load_cell(spec, folder) for spec, folder in folders if is_finished(spec, folder)]
        if not finished:
            raise TrainingError("Every technique failed:\n" + "\n".join(f"{k}: {why}" for k, why in failures.items()))
        warnings = (*data.warnings, *few_steps_warning(training_steps(combined.recipe, data)))
        result = ComparisonResult(combined, data.pixels.classes, tuple(finished), failures, origin, warnings)
        return result, Summary(rows(result), build_report(result, data).html())


def compare(
    source: str | Path | ImageSet | Recipe,
    *,
    losses: str | Sequence[str] = TECHNIQUES,
    dims: int | Sequence[int] = (2, 3),
    seeds: int = 1,
    trials: int = 0,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
) -> ComparisonResult:
    """Train every technique on the same images with the same budget, and write one report.

    >>> st.compare("photos/", losses=["softmax", "arcface"]).report  # doctest: +SKIP

    Args:
        source: images (a built-in name, folder or file), or a recipe that all techniques share.
        losses: techniques by name.
        dims: embedding sizes.
        seeds: runs of each technique.
        trials: trials of the margin and scale search per technique and dimension; 0 uses the fitted values.
        settings: settings of the recipe by dotted name, as ``--set`` of the command takes them.
        out: a new folder, or one that holds an earlier or unfinished run of the same comparison; None:
            ``runs/compare-NAME``.
        jobs: cells at once; None: one per core for the small encoders, else one at a time.
        exist_ok: allow a folder that holds other files.
        quiet: show no progress.

    Raises:
        UsageError: ``out`` holds another comparison, or other files; unknown names.
        DataError: the test part is empty.
        TrainingError: every cell failed.
    """
    recipe = shared_recipe(source).changed(**(settings or {}))
    names = (losses,) if isinstance(losses, str) else tuple(losses)
    sizes = (dims,) if isinstance(dims, int) else tuple(dims)
    comparison = Comparison(recipe, names, sizes, seeds, trials)
    check_names(comparison)
    dataset = Dataset.open(comparison.recipe)
    comparison = replace(comparison, recipe=dataset.recipe)
    data = dataset.decode(progress_unless(quiet))
    if len(data.splits.test) == 0:
        raise DataError(
            "The test part is empty, so nothing can be compared. Set data.test above 0, and use classes with at "
            "least two images."
        )
    for spec in {(spec.loss, spec.dims): spec for spec in comparison.cells()}.values():
        preflight(make_plan(spec.recipe, data))
    study = ComparisonStudy(comparison)
    result = run_study(study, comparison.recipe, data, out, Workforce(jobs, quiet), exist_ok=exist_ok)
    folder = Path(out) if out is not None else default_folder(comparison.recipe.data.source, "compare-")
    return replace(result, folder=folder)


def shared_recipe(source: str | Path | ImageSet | Recipe) -> Recipe:
    """Return the recipe that all techniques share: nothing of a comparison is calibrated, so those images train."""
    if isinstance(source, Recipe):
        return source
    return Recipe().changed(**{"data.source": source_name(source), "data.calibration": 0.0})


def _with_earlier_cells(comparison: Comparison, folder: Path) -> Comparison:
    """Extend ``comparison`` by the techniques, dimensions and seeds of finished cells from earlier commands."""
    losses, dims, seeds = list(comparison.losses), set(comparison.dims), comparison.seeds
    for result in sorted(folder.glob("*/metrics.json")):
        content = read_json(result)
        losses += [content["loss"]] if content["loss"] not in losses else []
        dims.add(content["dims"])
        seeds = max(seeds, content["seed"] - comparison.recipe.training.seed + 1)
    return replace(comparison, losses=tuple(losses), dims=tuple(sorted(dims)), seeds=seeds)


def check_names(comparison: Comparison) -> None:
    """Raise `UsageError` for an unknown technique or an impossible dimension, before any data is read."""
    if not comparison.losses or not comparison.dims:
        raise UsageError("Nothing to compare: name at least one technique and one dimension.")
    for dims in comparison.dims:
        if dims < 2:
            raise UsageError(f"--dims {dims}: directions need at least 2 dimensions.")
    for loss in comparison.losses:
        preset(loss)
    if comparison.recipe.encoder is not None:
        check_encoder(comparison.recipe.encoder)


def read_best_trials(folder: Path) -> dict[tuple[str, int], Trial]:
    """Return (technique, dimension) -> best trial, for every search in ``folder``."""
    best = {}
    for result in sorted(folder.glob(f"*/{TRIALS}")):
        content = read_json(result)
        best[content["loss"], content["dims"]] = best_trial(read_trials(result.parent))
    return best


def dry_run(comparison: Comparison) -> list[str]:
    """Run one batch of each technique through every stage, in a folder that is gone afterwards; return the cells.

    Raises:
        SteradianError: a technique failed.
    """
    check_names(comparison)
    dataset = Dataset.open(comparison.recipe)
    recipe, data = one_batch(dataset.recipe, dataset.decode())
    short_recipe = Comparison(recipe, comparison.losses, comparison.dims, seeds=1)
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        study, workforce = ComparisonStudy(short_recipe), Workforce(jobs=1, quiet=True)
        failures = run_phases(study, recipe, data, Path(scratch), command_line(), workforce)
    if failures:
        raise SteradianError("\n".join(f"{name}: {why}" for name, why in failures.items()))
    return [spec.name for spec in short_recipe.cells()]
