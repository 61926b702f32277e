"""Follow a plan from the first step, or from the last checkpoint, to a trained model."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steradian.data.loading.stream import StreamedPixels
from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.errors import ReaderError, UnreachableError, UsageError
from steradian.models.artifact import Artifact
from steradian.models.encoders import freeze_layers
from steradian.models.recognizer import Recognizer
from steradian.training import distributed
from steradian.training.adaptation.adapt import Adaptation
from steradian.training.adapted import EncoderFeatures, adapt_plan, encoder_features, fitted_on, install
from steradian.training.checkpoint import latest_checkpoint, read_model, read_record, restore, save_checkpoint
from steradian.training.features import cached
from steradian.training.interrupts import Interrupted, deferred_interrupts
from steradian.training.loop import embed_batch, fit
from steradian.training.plan import TrainingPlan
from steradian.training.resources import peak_memory_bytes, pick_device, reset_peak_memory
from steradian.training.run_folder import RunFolder
from steradian.training.sharded_encoder import shard_encoder
from steradian.training.stages import Stage
from steradian.training.state import TrainingState, make_state
from steradian.training.tracking import CsvTracker, TensorBoardTracker, Tracker

CHECKPOINT_SECONDS = 30.0
"""Shortest time between checkpoints; an interruption always writes one."""

SAVING_SHARE = 50
"""Within an epoch, so many times the time that a checkpoint takes lies between two."""

OnPlan = Callable[[str], None]
"""Receives one line about a decision of the plan before the first step."""

OnBatch = Callable[[int, int, str], None]
"""Receives (steps done, total steps, a short note) after every step."""


@dataclass(frozen=True)
class TrainingResult:
    """Result of training: the model, one history row per epoch, and the cost.

    Attributes:
        seconds_per_epoch: median over the epochs that ran without interruption.
        peak_memory: bytes.
        adaptation: what was compared and chosen, where the model was fitted in closed form.
        features: of the model's encoder, for all images of the data set, where they were computed to fit on.
        spent: where the time of the steps went, and what would help, in a sentence.
    """

    model: Recognizer
    history: list[dict[str, Any]]
    seconds_per_epoch: float
    peak_memory: int
    adaptation: Adaptation | None = None
    features: EncoderFeatures | None = None
    spent: str = ""

    def save(self, run: RunFolder, provenance: dict[str, Any]) -> Recognizer:
        """Write the artifact, read it back, and return the model as loading would: equal, and in contiguous memory."""
        self.model.to(memory_format=torch.contiguous_format).save(run.model, provenance)
        artifact = Artifact.open(run.model)
        artifact.check_id(artifact.tensors())
        return self.model


def start(plan: TrainingPlan) -> TrainingState:
    """Return a fresh training state, a function of recipe, data and seed."""
    settings = plan.recipe.training
    if plan.learns_nothing_in_encoder:
        # An auxiliary head trains the encoder, which does not learn here.
        settings = settings.model_copy(update={"auxiliary": 0.0})
    torch.set_rng_state(plan.rng_state)
    if plan.divides_encoder:
        shard_encoder(plan.model.encoder)
    state = make_state(plan.model, settings)
    state.progressive = plan.recipe.progressive
    return state


def make_stages(plan: TrainingPlan, progress: DataProgress = no_progress) -> tuple[Stage, ...]:
    """Return the stages of the plan with their batches. Features of frozen encoders are computed once and cached."""
    splits, digest, views = plan.data.splits, plan.data.digest, plan.recipe.training.cached_views
    batches = [plan.batches(part) for part in (splits.train, splits.validation)]
    stages: list[Stage] = []
    for stage in plan.stages:
        train, validation = batches
        if stage.from_cache:
            train = cached(train, plan.model, digest, views=views, frozen=stage.frozen, progress=progress)
            if len(validation.indices):
                validation = cached(validation, plan.model, digest, frozen=stage.frozen, progress=progress)
        stages.append(Stage(stage.until, stage.frozen, train, validation))
    return tuple(stages)


def train(
    plan: TrainingPlan,
    run: RunFolder | None = None,
    *,
    on_batch: OnBatch | None = None,
    on_plan: OnPlan | None = None,
    progress: DataProgress = no_progress,
) -> TrainingResult:
    """Train the model of the plan; with ``run``, keep history and checkpoints there and go on from the last one.

    A plan is followed once: its model is the one that learns. An interruption (Ctrl-C) writes a checkpoint at the step
    where it came, and the same plan made anew goes on from it: on one machine the final weights are those of an
    uninterrupted run. In a group of processes all call this with equal plans; rank zero returns the complete model, and
    the models of the others are of no further use.
    """
    settings = plan.recipe.training
    reset_peak_memory()
    if plan.recipe.adapts:
        if on_plan is not None:
            for line in plan.lines:
                on_plan(line)
        return _adapted(plan, progress)
    if plan.divides_encoder and run is None:
        raise UsageError("training.shard_encoder needs a folder for the run, in which its parts are put together.")
    state = start(plan)
    stages = make_stages(plan, progress)
    _resume(state, plan, run)
    if settings.centers == "means" and state.step == 0:
        state.model.train()
        freeze_layers(state.model.encoder, stages[0].frozen, keep_statistics=settings.keep_statistics)
        state.model.head.imprint(_class_embeddings(state, stages[0], progress))
    trackers = _trackers(plan, run)
    if on_plan is not None:
        head = state.model.head
        # The usual way for few classes is not worth a line.
        described = None if head.builds_all_logits(settings.batch_size) else head.describe_plan(settings.batch_size)
        for line in (*([f"head: {described}"] if described else []), *plan.lines):
            on_plan(line)
    last_saved, saving = time.monotonic(), 0.0
    total = len(stages[0].train) * settings.epochs

    def after_step(state: TrainingState, loss: float) -> None:
        if on_batch is not None:
            note = f"epoch {state.epoch + 1}/{settings.epochs}, loss {loss:.3f}, {state.clock.note()}"
            on_batch(state.step, total, note)
        # What Ctrl-C does at any step, a long epoch does by itself, so that a killed run loses little.
        if state.step_in_epoch < len(stages[0].train):
            save_after(max(CHECKPOINT_SECONDS, SAVING_SHARE * saving))
        check_interrupt()

    def save_after(seconds: float) -> None:
        nonlocal last_saved, saving
        if run is None or not distributed.any_rank(time.monotonic() - last_saved > seconds):
            return
        began = time.monotonic()
        save_checkpoint(run, state, **plan.digests)
        last_saved = time.monotonic()
        saving = last_saved - began

    def after_epoch(state: TrainingState) -> None:
        for tracker in trackers:
            tracker([{**row, **speed} for row, speed in zip(state.history, state.speeds, strict=True)])
        save_after(CHECKPOINT_SECONDS)
        check_interrupt()

    with deferred_interrupts(distributed.any_rank) as check_interrupt:
        try:
            fit(state, settings, stages, on_step=after_step, on_epoch=after_epoch)
            check_interrupt()
        except (Interrupted, UnreachableError, ReaderError):
            if run is not None:
                save_checkpoint(run, state, **plan.digests)
            raise
        except RuntimeError as error:
            # torch tells of an ended worker wherever this process is then, perhaps in the middle of a step: the
            # checkpoint before is the one to go on from.
            pixels = plan.data.pixels.pixels
            told = pixels.pool.ended(error) if isinstance(pixels, StreamedPixels) else error
            if told is not error:
                raise told from error
            raise
    model = _finished(state, plan, run)
    per_epoch = float(np.median(state.seconds)) if state.seconds else float("nan")
    spent = state.spent.verdict(pick_device().type == "cuda")
    return TrainingResult(model, state.history, per_epoch, peak_memory_bytes(), spent=spent)


def _adapted(plan: TrainingPlan, progress: DataProgress) -> TrainingResult:
    """Fit neck and head in closed form on the features of all images but those of the test part."""
    chosen = fitted_on(plan)
    # The images of the test part pass through the encoder with the others, so that measuring needs no second time.
    every_image = np.sort(np.concatenate([chosen, plan.data.splits.test]))
    features = encoder_features(plan, every_image, progress)
    chosen = chosen[features.has(chosen)]
    adaptation = adapt_plan(plan, chosen, features.of(chosen), progress)
    return TrainingResult(install(plan.model, adaptation), [], math.nan, peak_memory_bytes(), adaptation, features)


def _resume(state: TrainingState, plan: TrainingPlan, run: RunFolder | None) -> None:
    """Go on from the last checkpoint in ``run``.

    Raises:
        UsageError: it is of another recipe or of other images.
    """
    if run is None or (checkpoint := latest_checkpoint(run)) is None:
        return
    other = _other(plan, checkpoint)
    if other:
        raise UsageError(
            f"{run.path} holds an unfinished training of {other}. It is kept as it is. Choose another --out, or pass "
            "--exist-ok to begin again in its place."
        )
    restore(state, checkpoint)


def begin_again(plan: TrainingPlan, run: RunFolder) -> None:
    """Remove the checkpoints of another training, for a user who asked to train in its place."""
    checkpoint = latest_checkpoint(run)
    if checkpoint is not None and _other(plan, checkpoint):
        shutil.rmtree(run.checkpoints)


def _other(plan: TrainingPlan, checkpoint: Path) -> str:
    """Return what a checkpoint is of, if not of this plan; else nothing."""
    record = read_record(checkpoint)
    if record.recipe != plan.digests["recipe"]:
        return "another recipe"
    return "" if record.data == plan.digests["data"] else "other images: some were changed, added or removed"


@torch.no_grad()
def _class_embeddings(state: TrainingState, stage: Stage, progress: DataProgress) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield raw embeddings and labels of the first epoch; batch norm uses the batch, as it has no statistics yet."""
    steps = progress(range(len(stage.train)), len(stage.train), "placing class centers")
    for _, batch in zip(steps, stage.train.epoch(0, views=False), strict=True):
        yield embed_batch(state, stage.train, batch), stage.train.labels(batch)


def _finished(state: TrainingState, plan: TrainingPlan, run: RunFolder | None) -> Recognizer:
    """Return the trained model in eval mode, with all classes in one piece."""
    model = state.model
    if run is not None:
        checkpoint = save_checkpoint(run, state, **plan.digests)
        if state.sharded and distributed.is_rank_zero():
            # The parts of all processes, put together in a model of one process.
            model = Recognizer(plan.spec).to(pick_device())
            read_model(checkpoint, model)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    return model.eval()


def _trackers(plan: TrainingPlan, run: RunFolder | None) -> list[Tracker]:
    if run is None or not distributed.is_rank_zero():
        return []
    trackers: list[Tracker] = [CsvTracker(run.history)]
    if plan.recipe.training.tensorboard:
        trackers.append(TensorBoardTracker(run.tensorboard))
    return trackers
