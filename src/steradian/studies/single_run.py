"""Train one recognizer by a recipe and measure it: a run folder from start to report."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.errors import UsageError
from steradian.files import new_folder
from steradian.losses import preset
from steradian.studies.evaluation import Evaluated, evaluate_run, write_evaluation
from steradian.training.checkpoint import FOLDER as CHECKPOINTS
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe, read_recipe, write_recipe
from steradian.training.run import Prepared, Trained, one_batch, prepare, provenance, save_model, train

RECIPE = "recipe.yaml"
FINISHED = "metrics.json"


@dataclass(frozen=True)
class Run:
    """A trained model and, where there were test images, its numbers."""

    trained: Trained
    evaluated: Evaluated | None


def train_run(
    recipe: Recipe,
    out: Path,
    *,
    command: str,
    exist_ok: bool = False,
    quiet: bool = False,
    decoding: DataProgress = no_progress,
) -> Run:
    """Train into the run folder ``out``; one that stands there unfinished, of the same recipe, goes on.

    Raises:
        UsageError: ``out`` holds another or a finished run, or other files, and ``exist_ok`` is false.
    """
    preset(recipe.loss.name)
    _claim(out, recipe, exist_ok)
    prepared = prepare(recipe.data, decoding)
    return _train_into(recipe, prepared, out, command, quiet)


def dry_run(recipe: Recipe, *, command: str) -> Run:
    """One batch through every stage, in a folder that is gone afterwards."""
    preset(recipe.loss.name)
    cut, prepared = one_batch(recipe, prepare(recipe.data))
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        return _train_into(cut, prepared, Path(scratch), command, quiet=True)


def _train_into(recipe: Recipe, prepared: Prepared, out: Path, command: str, quiet: bool) -> Run:
    with Progress(0, "training", quiet=quiet) as progress:
        trained = train(recipe, prepared, out, on_batch=progress.at)
    origin: dict[str, Any] = provenance(prepared, recipe, command)
    save_model(trained, out / "model", origin)
    if len(prepared.splits.test) == 0:
        return Run(trained, None)
    evaluated = evaluate_run(trained.model, prepared, command)
    write_evaluation(evaluated, out, trained.history)
    return Run(trained, evaluated)


def _claim(out: Path, recipe: Recipe, exist_ok: bool) -> None:
    there = out / RECIPE
    if there.is_file():
        same, finished = read_recipe(there) == recipe, (out / FINISHED).is_file()
        if same and not finished:
            return
        if not exist_ok:
            what = "this run, finished" if same else "another run" if finished else "another run, unfinished"
            raise UsageError(
                f"{out} holds {what}. Choose another --out, or pass --exist-ok to train anew in its place."
            )
        for old in ("model", CHECKPOINTS):
            shutil.rmtree(out / old, ignore_errors=True)
        for old in (FINISHED, "history.csv", "report.html"):
            (out / old).unlink(missing_ok=True)
    new_folder(out, exist_ok=exist_ok)
    write_recipe(there, recipe)
