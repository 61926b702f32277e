"""A run from a recipe: data in, model out, in one folder that can be resumed and repeated."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.data.sampling import epoch_length
from steradian.models import artifact
from steradian.models.recognizer import Recognizer
from steradian.training import distributed
from steradian.training.assembly import make_stages, model_spec, start
from steradian.training.checkpoint import FOLDER as CHECKPOINTS
from steradian.training.checkpoint import latest_checkpoint, read_model, read_record, restore, save_checkpoint
from steradian.training.imprinting import imprint
from steradian.training.interrupts import Interrupted, deferred_interrupts
from steradian.training.loop import fit
from steradian.training.prepared import Prepared
from steradian.training.recipe import Recipe
from steradian.training.resources import environment, peak_memory_bytes, pick_device, reset_peak_memory
from steradian.training.state import TrainingState, plan_line
from steradian.training.tracking import CsvTracker, TensorBoardTracker, Tracker

CHECKPOINT_SECONDS = 30.0
"""At least this long between checkpoints at the end of epochs; an interruption always writes one."""

OnPlan = Callable[[str], None]
"""How the classes are passed, in a line, before the first step."""

OnBatch = Callable[[int, int, str], None]
"""(steps done, steps in all, a short note) after every step."""


@dataclass(frozen=True)
class Trained:
    """What a run leaves: the model, one history row per epoch, and what it cost."""

    model: Recognizer
    history: list[dict[str, Any]]
    seconds_per_epoch: float
    peak_memory: int


def train(
    recipe: Recipe,
    prepared: Prepared,
    run: Path | None = None,
    *,
    on_batch: OnBatch | None = None,
    on_plan: OnPlan | None = None,
    progress: DataProgress = no_progress,
) -> Trained:
    """Train by the recipe; with ``run``, keep history and checkpoints there and go on from the last one.

    An interruption (Ctrl-C) writes a checkpoint at the step it came, and the same call goes on from it: on
    one machine the final weights are those of an uninterrupted run. In a group of processes all call this, with the
    same arguments; the model of the chief is whole, and those of the others are for nothing more.
    """
    settings = recipe.training
    reset_peak_memory()
    state = start(recipe, prepared)
    stages, why = make_stages(recipe, prepared, state.model, progress)
    digests = {"recipe": recipe.digest(), "data": prepared.digest}
    if run is not None and (found := latest_checkpoint(run)) is not None:
        record = read_record(found)
        if {"recipe": record.recipe, "data": record.data} == digests:
            restore(state, found)
        else:
            distributed.wait_for_all()
            if distributed.is_chief():
                shutil.rmtree(run / CHECKPOINTS)
    if settings.centers == "means" and state.step == 0:
        imprint(state, stages[0].train, stages[0].frozen)
    trackers = _trackers(run, recipe)
    if on_plan is not None and (line := plan_line(state, settings.batch_size)) is not None:
        on_plan(f"head: {line}")
    if on_plan is not None and why:
        on_plan(f"encoder: {why}")
    saved = time.monotonic()
    total = len(stages[0].train) * settings.epochs

    def after_step(state: TrainingState, loss: float) -> None:
        if on_batch is not None:
            on_batch(state.step, total, f"epoch {state.epoch + 1}/{settings.epochs}, loss {loss:.3f}")
        check_interrupt()

    def after_epoch(state: TrainingState) -> None:
        nonlocal saved
        for tracker in trackers:
            tracker(state.history)
        if run is not None and distributed.anyone(time.monotonic() - saved > CHECKPOINT_SECONDS):
            save_checkpoint(run, state, **digests)
            saved = time.monotonic()
        check_interrupt()

    with deferred_interrupts(distributed.anyone) as check_interrupt:
        try:
            fit(state, settings, stages, on_step=after_step, on_epoch=after_epoch)
            check_interrupt()
        except Interrupted:
            if run is not None:
                save_checkpoint(run, state, **digests)
            raise
    model = state.model
    if run is not None:
        final = save_checkpoint(run, state, **digests)
        if state.shard is not None and distributed.is_chief():
            model = _whole(recipe, prepared, final)
    per_epoch = float(np.median(state.seconds)) if state.seconds else float("nan")
    return Trained(model, state.history, per_epoch, peak_memory_bytes())


def _whole(recipe: Recipe, prepared: Prepared, checkpoint: Path) -> Recognizer:
    """The model in one process, its divided classes put together."""
    model = Recognizer(model_spec(recipe, prepared)).to(pick_device())
    read_model(checkpoint, model)
    return model.eval()


def _trackers(run: Path | None, recipe: Recipe) -> list[Tracker]:
    if run is None or not distributed.is_chief():
        return []
    found: list[Tracker] = [CsvTracker(run / "history.csv")]
    if recipe.training.tensorboard:
        found.append(TensorBoardTracker(run / "tensorboard"))
    return found


def provenance(prepared: Prepared, recipe: Recipe, command: str) -> dict[str, Any]:
    """Where a number comes from: command, data, seed, versions, date."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "data": {"source": prepared.pixels.source, "digest": prepared.digest, "images": len(prepared.pixels)},
        "recipe": recipe.digest(),
        "seed": recipe.training.seed,
        **environment(),
    }


def saved_model(model: Recognizer, folder: Path, origin: dict[str, Any]) -> Recognizer:
    """Write the artifact with its provenance and load it again: what is measured is what others will load."""
    artifact.save(model, folder, origin)
    return artifact.load(folder).to(pick_device())


def training_steps(recipe: Recipe, prepared: Prepared) -> int:
    """Optimizer steps of the whole run."""
    settings = recipe.training
    labels = prepared.pixels.labels[prepared.splits.train]
    return epoch_length(labels, settings.batch_size, settings.images_per_class) * settings.epochs
