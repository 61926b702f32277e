"""Compare techniques on one data set: same encoder, same budget, several seeds, one report."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import available_cores, no_progress
from steradian.errors import DataError, SteradianError, TrainingError, UsageError
from steradian.files import locked, new_folder, read_json, write_json, write_text
from steradian.losses import preset
from steradian.models.encoders import OWN, check_encoder, default_encoder
from steradian.studies.cells import RESULT, CellResult, CellSpec, is_finished, load_cell, run_cell
from steradian.studies.measurement import flat
from steradian.studies.place import check_place
from steradian.studies.tuning import RESULT as TRIALS
from steradian.studies.tuning import Trial, TuningSpec, best_trial, check_tunable, read_trials, tune_technique
from steradian.studies.workers import Spec, Work, run_here, run_in_workers
from steradian.training.prepared import Prepared, prepare, settled
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe
from steradian.training.rehearsal import one_batch, rehearse, short_training
from steradian.training.run import provenance, training_steps
from steradian.training.tracking import table

IDENTITY = "compare.json"
CELLS = "cells"
TUNING = "tuning"

TECHNIQUES = ("softmax", "triplet", "sphereface", "cosface", "arcface", "sphere-arc")
"""What is compared unless something else is asked for: system B's techniques and its hybrid."""


@dataclass(frozen=True)
class Comparison:
    """What to compare. ``recipe`` is shared; each cell fills in technique, dimensions and seed.

    Attributes:
        trials: of the search for margin and scale, for each technique and dimension; 0: the fitted values.
        tuned: (technique, dimension) -> what the search found.
    """

    recipe: Recipe
    losses: tuple[str, ...]
    dims: tuple[int, ...]
    seeds: int
    trials: int = 0
    tuned: Mapping[tuple[str, int], Trial] = field(default_factory=dict)

    def recipe_of(self, loss: str, dims: int) -> Recipe:
        """The shared recipe for one technique, without what a search found."""
        return self.recipe.changed(**{"embedding_size": dims, "loss.name": loss})

    def cells(self) -> list[CellSpec]:
        """Every cell, seeds outermost, so that an interrupted study has whole rows of techniques."""
        found = []
        for seed in range(self.seeds):
            for dims in self.dims:
                for loss in self.losses:
                    changes: dict[str, Any] = {"training.seed": self.recipe.training.seed + seed}
                    if (loss, dims) in self.tuned:
                        found_by_search = self.tuned[loss, dims].options
                        changes["loss.options"] = {**self.recipe.loss.options, **found_by_search}
                    recipe = self.recipe_of(loss, dims).changed(**changes)
                    found.append(CellSpec(loss, dims, self.recipe.training.seed + seed, recipe))
        return found


@dataclass(frozen=True)
class Compared:
    """A finished comparison.

    Attributes:
        cells: results in the order of `Comparison.cells`; failed ones are missing.
        failures: cell name -> message.
        provenance: command, data, versions, date.
        warnings: about the data.
    """

    comparison: Comparison
    classes: tuple[str, ...]
    cells: tuple[CellResult, ...]
    failures: dict[str, str]
    provenance: dict[str, Any]
    warnings: tuple[str, ...]

    def by_seed(self, key: str, dims: int) -> dict[str, dict[int, float]]:
        """Technique -> seed -> the number ``key`` (dotted), for ``dims`` dimensions; NaN left out."""
        found: dict[str, dict[int, float]] = {loss: {} for loss in self.comparison.losses}
        for cell in self.cells:
            value = float(dict(flat(cell.numbers)).get(key, float("nan")))
            if cell.spec.dims == dims and not math.isnan(value):
                found[cell.spec.loss][cell.spec.seed] = value
        return found

    def right(self, key: str, dims: int) -> dict[str, dict[int, NDArray[np.bool_]]]:
        """Technique -> seed -> which test images the number ``key`` counts as right, for ``dims`` dimensions."""
        found: dict[str, dict[int, NDArray[np.bool_]]] = {}
        for cell in self.cells:
            if cell.spec.dims == dims and key in cell.right:
                found.setdefault(cell.spec.loss, {})[cell.spec.seed] = cell.right[key]
        return found

    def values(self, key: str, dims: int) -> dict[str, list[float]]:
        """Technique -> the number ``key`` (dotted) of each seed that has one, for ``dims`` dimensions."""
        return {loss: list(seeds.values()) for loss, seeds in self.by_seed(key, dims).items()}

    def first(self, dims: int) -> dict[str, CellResult]:
        """Technique -> its cell of the first seed, for ``dims`` dimensions."""
        found: dict[str, CellResult] = {}
        for cell in self.cells:
            if cell.spec.dims == dims:
                found.setdefault(cell.spec.loss, cell)
        return found


def compare(
    comparison: Comparison,
    out: Path,
    *,
    command: str,
    jobs: int | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
    decoding: DataProgress = no_progress,
) -> Compared:
    """Run every cell that ``out`` does not hold yet and write ``results.csv``, earlier cells included.

    Args:
        comparison: what to compare.
        out: a new folder, or one that holds an earlier or unfinished run of the same comparison.
        command: what the user typed, for the record.
        jobs: cells at once; None: one per core for the small encoder, else one at a time.
        exist_ok: write into a folder that holds other things.
        quiet: no progress.
        decoding: shows the progress of decoding.

    Raises:
        UsageError: ``out`` holds another comparison, or other files; unknown names.
        DataError: nothing to test on.
        TrainingError: every cell failed.
    """
    check_names(comparison)
    comparison = replace(comparison, recipe=settled(comparison.recipe))
    prepared = prepare(comparison.recipe, decoding)
    if len(prepared.splits.test) == 0:
        raise DataError(
            "There is nothing to compare on: the test part is empty. It takes data.test above 0 and classes with at "
            "least two images."
        )
    for spec in {(spec.loss, spec.dims): spec for spec in comparison.cells()}.values():
        rehearse(spec.recipe, prepared)
    check_place(out, IDENTITY, _identity(comparison, prepared), "comparison", exist_ok=exist_ok)
    new_folder(out, exist_ok=True)
    with locked(out):
        write_json(out / IDENTITY, _identity(comparison, prepared))
        failures: dict[str, str] = {}
        if comparison.trials:
            failures = _tune(comparison, prepared, out / TUNING, command, jobs, quiet)
            comparison = replace(comparison, tuned=_found_by_search(out / TUNING))
        todo = [
            spec
            for spec in comparison.cells()
            if not is_finished(spec, out / CELLS / spec.name) and f"{spec.loss}-{spec.dims}d" not in failures
        ]
        cells = Work(run_cell, prepared, out / CELLS, command, threads=1)
        steps = training_steps(comparison.recipe, prepared)
        failures |= _run(todo, cells, comparison, steps, jobs, "comparing", quiet)
        whole = _with_what_stands(comparison, out / CELLS)
        finished = [
            load_cell(spec, out / CELLS / spec.name)
            for spec in whole.cells()
            if is_finished(spec, out / CELLS / spec.name)
        ]
        if not finished:
            raise TrainingError("Every technique failed:\n" + "\n".join(f"{k}: {why}" for k, why in failures.items()))
        compared = Compared(
            whole,
            prepared.pixels.classes,
            tuple(finished),
            failures,
            provenance(prepared, comparison.recipe, command),
            (*prepared.warnings, *short_training(comparison.recipe, prepared)),
        )
        write_text(out / "results.csv", table(rows(compared)))
    return compared


def _with_what_stands(comparison: Comparison, folder: Path) -> Comparison:
    """``comparison`` with the techniques, dimensions and seeds of finished cells from earlier commands."""
    losses, dims, seeds = list(comparison.losses), set(comparison.dims), comparison.seeds
    for result in sorted(folder.glob(f"*/{RESULT}")):
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


def _tune(
    comparison: Comparison, prepared: Prepared, folder: Path, command: str, jobs: int | None, quiet: bool
) -> dict[str, str]:
    """Search for margin and scale of each technique in each dimension; name -> why of those that failed."""
    check_tunable(prepared)
    specs = [
        TuningSpec(loss, dims, comparison.trials, comparison.recipe_of(loss, dims))
        for dims in comparison.dims
        for loss in comparison.losses
    ]
    work = Work(tune_technique, prepared, folder, command, threads=1)
    steps = training_steps(comparison.recipe, prepared) * comparison.trials
    return _run(specs, work, comparison, steps, jobs, "tuning", quiet)


def _found_by_search(folder: Path) -> dict[tuple[str, int], Trial]:
    """(technique, dimension) -> the best trial, of all searches that stand in ``folder``."""
    found = {}
    for result in sorted(folder.glob(f"*/{TRIALS}")):
        content = read_json(result)
        found[content["loss"], content["dims"]] = best_trial(read_trials(result.parent))
    return found


def _run(
    specs: Sequence[Spec], work: Work, comparison: Comparison, steps: int, jobs: int | None, what: str, quiet: bool
) -> dict[str, str]:
    """Do ``specs`` of ``steps`` steps each; name -> why of those that failed."""
    if not specs:
        return {}
    encoder = comparison.recipe.encoder
    encoder = encoder if encoder is not None else default_encoder(work.prepared.pixels.size)
    side_by_side = encoder in OWN and not torch.cuda.is_available()
    jobs = min(len(specs), jobs if jobs is not None else (available_cores() if side_by_side else 1))
    work = replace(work, threads=1 if side_by_side else torch.get_num_threads())
    with Progress(steps * len(specs), what, quiet=quiet) as progress:
        if jobs == 1:
            return run_here(specs, work, progress)
        return run_in_workers(specs, work, jobs, progress)


def _identity(comparison: Comparison, prepared: Prepared) -> dict[str, Any]:
    """What must be the same for cells to stand in one table."""
    return {
        "format": "steradian.compare",
        "version": 1,
        "data": prepared.digest,
        "trials": comparison.trials,
        "recipe": comparison.recipe.model_dump(mode="json", exclude={"loss": {"name"}, "embedding_size": True}),
    }


def rows(compared: Compared) -> list[dict[str, Any]]:
    """One flat row per finished cell."""
    return [
        {
            "loss": cell.spec.loss,
            "dims": cell.spec.dims,
            "seed": cell.spec.seed,
            **dict(flat(cell.numbers)),
            **{f"option.{key}": value for key, value in cell.options.items()},
        }
        for cell in compared.cells
    ]


def dry_run(comparison: Comparison, command: str) -> list[str]:
    """One batch of each technique through every stage, in a folder that is gone afterwards; the cells that ran."""
    check_names(comparison)
    settled_recipe = settled(comparison.recipe)
    recipe, prepared = one_batch(settled_recipe, prepare(settled_recipe))
    first = Comparison(recipe, comparison.losses, comparison.dims, seeds=1)
    specs = first.cells()
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        work = Work(run_cell, prepared, Path(scratch), command, threads=1)
        failures = _run(specs, work, first, training_steps(recipe, prepared), 1, "comparing", quiet=True)
    if failures:
        raise SteradianError("\n".join(f"{name}: {why}" for name, why in failures.items()))
    return [spec.name for spec in specs]
