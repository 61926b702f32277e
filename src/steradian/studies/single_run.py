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
from steradian.files import check_folder, locked, new_folder, write_json, write_text
from steradian.losses import preset
from steradian.models.artifact import README
from steradian.models.card import card_text
from steradian.models.encoders import check_encoder
from steradian.models.pretrained import PACKAGED, check_weights
from steradian.studies.calibrating import calibrated
from steradian.studies.evaluation import Evaluated, evaluate_run
from steradian.studies.evaluation_report import card_numbers, write_evaluation
from steradian.training.checkpoint import FOLDER as CHECKPOINTS
from steradian.training.distributed import is_chief, ranks, wait_for_all
from steradian.training.prepared import Prepared, prepare, settled
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe, read_recipe, write_recipe
from steradian.training.rehearsal import one_batch, rehearse, short_training
from steradian.training.run import Trained, provenance, saved_model, train

RECIPE = "recipe.yaml"
FINISHED = "metrics.json"


@dataclass(frozen=True)
class Run:
    """A trained model and, where there were test images, its numbers.

    Attributes:
        warnings: about the data.
    """

    trained: Trained
    evaluated: Evaluated | None
    warnings: tuple[str, ...]


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
    check_names(recipe)
    recipe = settled(recipe)
    if not is_chief():
        return _assist(recipe, out)
    _check_place(out, recipe, exist_ok)
    prepared = prepare(recipe, decoding)
    rehearse(recipe, prepared)
    new_folder(out, exist_ok=True)
    with locked(out):
        _claim(out, recipe)
        wait_for_all()
        return _train_into(recipe, prepared, out, command, quiet, decoding)


def _assist(recipe: Recipe, out: Path) -> Run:
    """The part of a process that is not the chief: it trains along, and writes only its part of checkpoints."""
    prepared = prepare(recipe)
    rehearse(recipe, prepared)
    wait_for_all()
    return Run(train(recipe, prepared, out), None, ())


def check_names(recipe: Recipe) -> None:
    """Raise `UsageError` for an unknown loss or encoder, before any data is read."""
    preset(recipe.loss.name)
    if recipe.encoder is not None:
        check_encoder(recipe.encoder)
    if recipe.weights is not None:
        if recipe.encoder is None and recipe.weights != "package":
            raise UsageError(f"--weights {recipe.weights} needs --encoder: of which one are they?")
        check_weights(recipe.encoder or PACKAGED, recipe.weights)


def dry_run(recipe: Recipe, *, command: str) -> Run:
    """One batch through every stage, in a folder that is gone afterwards."""
    check_names(recipe)
    if ranks() > 1:
        raise UsageError("A dry run is for one process: start it without torchrun.")
    recipe = settled(recipe)
    cut, prepared = one_batch(recipe, prepare(recipe))
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        return _train_into(cut, prepared, Path(scratch), command, quiet=True)


def _train_into(
    recipe: Recipe,
    prepared: Prepared,
    out: Path,
    command: str,
    quiet: bool,
    progress_of_features: DataProgress = no_progress,
) -> Run:
    with Progress(0, "training", quiet=quiet) as progress:
        trained = train(
            recipe,
            prepared,
            out,
            on_batch=progress.at,
            on_plan=None if quiet else progress.note,
            progress=progress_of_features,
        )
    warnings = (*prepared.warnings, *short_training(recipe, prepared))
    origin: dict[str, Any] = provenance(prepared, recipe, command)
    model = saved_model(calibrated(trained.model, prepared), out / "model", origin)
    if len(prepared.splits.test) == 0:
        write_json(out / FINISHED, {"provenance": origin})
        return Run(trained, None, warnings)
    evaluated = evaluate_run(model, prepared, command)
    if model.card is not None:
        write_text(out / "model" / README, card_text(model.card, card_numbers(evaluated)))
    write_evaluation(evaluated, out, trained.history)
    return Run(trained, evaluated, warnings)


def _check_place(out: Path, recipe: Recipe, exist_ok: bool) -> None:
    """Refuse a folder that holds something else, without touching it."""
    there = out / RECIPE
    if exist_ok or not there.is_file():
        check_folder(out, exist_ok=exist_ok)
        return
    same, finished = read_recipe(there) == recipe, (out / FINISHED).is_file()
    if same and not finished:
        return
    what = "this run, finished" if same else "another run" if finished else "another run, unfinished"
    raise UsageError(f"{out} holds {what}. Choose another --out, or pass --exist-ok to train anew in its place.")


def _claim(out: Path, recipe: Recipe) -> None:
    """Make a locked folder this run's: one that is unfinished keeps its checkpoints, anything older goes."""
    there = out / RECIPE
    if there.is_file() and ((out / FINISHED).is_file() or read_recipe(there) != recipe):
        for old in ("model", CHECKPOINTS):
            shutil.rmtree(out / old, ignore_errors=True)
        for old in (FINISHED, "history.csv", "predictions.csv", "report.html"):
            (out / old).unlink(missing_ok=True)
    write_recipe(there, recipe)
