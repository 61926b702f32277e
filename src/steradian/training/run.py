"""A run from a recipe: data in, model out, in one folder that can be resumed and repeated."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from steradian import data
from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.data.progressive import HarderView, ProgressiveViews
from steradian.data.sampling import epoch_length
from steradian.data.splits import Splits
from steradian.data.views import RandomView
from steradian.errors import InputError, UsageError
from steradian.losses import HEAD_OPTIONS, ClassCenters, MarginSoftmaxLoss, fitted_options, preset
from steradian.losses.head.plan import HEADS
from steradian.losses.head.sampled import DEFAULT_RATE
from steradian.losses.ranges import one_of
from steradian.models import artifact
from steradian.models.encoders import OWN, check_encoder, default_encoder, layers_of
from steradian.models.pretrained import load_pretrained
from steradian.models.recognizer import ModelSpec, Recognizer
from steradian.training import distributed
from steradian.training.batches import Batches, Indices
from steradian.training.checkpoint import FOLDER as CHECKPOINTS
from steradian.training.checkpoint import latest_checkpoint, read_model, read_record, restore, save_checkpoint
from steradian.training.features import cached
from steradian.training.imprinting import imprint, movable
from steradian.training.interrupts import Interrupted, deferred_interrupts
from steradian.training.loop import fit
from steradian.training.prepared import Prepared
from steradian.training.recipe import Recipe
from steradian.training.resources import environment, peak_memory_bytes, pick_device, reset_peak_memory
from steradian.training.stages import Stage, frozen_layers
from steradian.training.state import TrainingState, make_state, plan_line
from steradian.training.tracking import CsvTracker, TensorBoardTracker, Tracker

CHECKPOINT_SECONDS = 30.0
"""At least this long between checkpoints at the end of epochs; an interruption always writes one."""

FEW_STEPS = 60
"""Fewer steps than this teach hardly anything."""

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


def model_spec(recipe: Recipe, prepared: Prepared) -> ModelSpec:
    """The recognizer that the recipe describes, for this data."""
    pixels = prepared.pixels
    encoder = recipe.encoder if recipe.encoder is not None else default_encoder(pixels.size)
    check_encoder(encoder)
    chosen = {key: value for key, value in recipe.loss.options.items() if key not in HEAD_OPTIONS}
    options = fitted_options(recipe.loss.name, len(pixels.classes), recipe.embedding_size, **chosen)
    if "class_counts" in preset(recipe.loss.name).options() and options.get("class_counts") is None:
        trained = pixels.labels[prepared.splits.train]
        options["class_counts"] = np.bincount(trained, minlength=len(pixels.classes)).tolist()
    return ModelSpec(
        encoder=encoder,
        embedding_size=recipe.embedding_size,
        loss=recipe.loss.name,
        loss_options=options,
        classes=pixels.classes,
        preprocessing=prepared.preprocessing,
        neck=recipe.neck,
        stages=recipe.stages,
    )


def head_options(recipe: Recipe) -> dict[str, Any]:
    """How the classes are passed: as the recipe says, and divided wherever there are several processes.

    Raises:
        UsageError: several processes, and a loss or a head that cannot be divided.
    """
    chosen = {key: value for key, value in recipe.loss.options.items() if key in HEAD_OPTIONS}
    one_of("head", chosen.get("head", "auto"), HEADS)
    if distributed.ranks() == 1:
        return chosen
    if "head" not in preset(recipe.loss.name).options() or chosen.get("head") in ("dense", "tiled"):
        raise UsageError(
            f"The loss {recipe.loss.name!r} with head={chosen.get('head', 'auto')!r} runs in one process. Start it "
            "without torchrun, or take a loss of the softmax family with head 'auto', 'sampled' or 'sharded'."
        )
    if chosen.get("head") == "sampled":
        chosen.setdefault("sample_rate", DEFAULT_RATE)
    return {**chosen, "head": "sharded"}


def rehearse(recipe: Recipe, prepared: Prepared) -> None:
    """Build the model and embed two images, so that what cannot work is said before a folder is made.

    Raises:
        UsageError: unknown names; early stopping or plateau without validation images.
        InputError: options out of range; an encoder that cannot take images of this size.
    """
    settings = recipe.training
    needs = "early_stopping" if settings.early_stopping is not None else settings.schedule
    if needs in ("early_stopping", "plateau") and len(prepared.splits.validation) == 0:
        raise UsageError(
            f"training: {needs} watches validation images, but there are none: set data.validation above 0."
        )
    spec = model_spec(recipe, prepared)
    model = Recognizer(spec, head_options(recipe))
    if recipe.weights is not None:
        load_pretrained(model.encoder, spec.encoder, recipe.weights, recipe.transfer_layers)
    if settings.centers == "means":
        movable(model.head)
    _check_mixup(recipe, model)
    _check_progressive(recipe, model)
    try:
        model.embed(torch.from_numpy(np.ascontiguousarray(prepared.pixels.pixels[:2])))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"The encoder {spec.encoder!r} cannot take images of {spec.preprocessing.size} px ({error}). "
            "Choose another --encoder or --image-size."
        ) from error


def _check_mixup(recipe: Recipe, model: Recognizer) -> None:
    """Raise `UsageError` where blends of images have no meaning, or no way to be trained on."""
    settings = recipe.training
    if settings.mixup == 0:
        return
    if not isinstance(model.head, ClassCenters):
        raise UsageError(
            f"training.mixup blends two classes in one image, and {recipe.loss.name!r} asks of two images whether they "
            "are of one class. Leave it at 0, or take a loss with class centers."
        )
    engine = model.head.engine if isinstance(model.head, MarginSoftmaxLoss) else None
    tiled = isinstance(model.head, MarginSoftmaxLoss) and model.head.plan(settings.batch_size).path != "dense"
    if distributed.ranks() > 1 or tiled or (engine is not None and engine.sampling is not None):
        raise UsageError(
            "training.mixup passes the classes twice a step, which only a dense head in one process does. "
            "Leave it at 0, or set head=dense."
        )


def _check_progressive(recipe: Recipe, model: Recognizer) -> None:
    """Raise `UsageError` where several views of an image in a batch have no meaning."""
    settings, training = recipe.progressive, recipe.training
    if settings.views == 1:
        return
    if recipe.views is None or training.mixup > 0:
        raise UsageError("progressive.views makes views of images: it needs views, and no mixup.")
    tiled = isinstance(model.head, MarginSoftmaxLoss) and model.head.plan(training.batch_size).path != "dense"
    if settings.consistency != "angle" and (tiled or not isinstance(model.head, ClassCenters)):
        raise UsageError(
            f"progressive.consistency {settings.consistency!r} compares probabilities of all classes, which "
            f"{recipe.loss.name!r} has none of here. Set progressive.consistency to angle."
        )


def make_batches(recipe: Recipe, prepared: Prepared, indices: Indices) -> Batches:
    """Batches of the images at ``indices``."""
    settings = recipe.training
    view: RandomView | ProgressiveViews | None = None
    if recipe.views is not None:
        limits = recipe.views.model_dump(exclude={"until"})
        flip = limits["flip"] if limits["flip"] is not None else (0.5 if prepared.pixels.channels == 3 else 0.0)
        view = RandomView(**{**limits, "flip": flip})
        if recipe.progressive.views > 1:
            parts = recipe.progressive.model_dump(exclude={"views", "consistency", "weight"})
            view = ProgressiveViews(view, HarderView(**parts), recipe.progressive.views)
    return Batches(
        pixels=prepared.pixels,
        indices=indices,
        preprocessing=prepared.preprocessing,
        batch_size=settings.batch_size,
        seed=settings.seed,
        view=view,
        views_until=recipe.views.until if recipe.views is not None else 0.0,
        memory_format=torch.channels_last if settings.channels_last else torch.contiguous_format,
        device=pick_device(),
        images_per_class=settings.images_per_class,
    )


def start(recipe: Recipe, prepared: Prepared) -> TrainingState:
    """A fresh training state, a function of recipe, data and seed."""
    settings = recipe.training
    torch.manual_seed(settings.seed)
    model = Recognizer(model_spec(recipe, prepared), head_options(recipe))
    if recipe.weights is not None:
        load_pretrained(model.encoder, model.spec.encoder, recipe.weights, recipe.transfer_layers)
    model = model.to(pick_device())
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    frozen, _ = frozen_layers(freeze_setting(recipe), model.encoder, len(prepared.splits.train))
    if frozen > max(layers_of(model.encoder).values()):
        # An auxiliary head teaches the encoder, and here that does not learn.
        settings = settings.model_copy(update={"auxiliary": 0.0})
    state = make_state(model, settings)
    state.progressive = recipe.progressive
    return state


def freeze_setting(recipe: Recipe) -> int | Literal["all", "auto"]:
    """``training.freeze``, or what stands for none: auto for pretrained encoders, 0 for others."""
    asked = recipe.training.freeze
    return asked if asked is not None else ("auto" if recipe.weights is not None else 0)


def make_stages(
    recipe: Recipe, prepared: Prepared, model: Recognizer, progress: DataProgress = no_progress
) -> tuple[tuple[Stage, ...], str]:
    """The stages of a training, and why which layers are frozen. Features of frozen encoders come from a cache."""
    settings, splits = recipe.training, prepared.splits
    train, held_out = (make_batches(recipe, prepared, part) for part in (splits.train, splits.validation))
    frozen, why = frozen_layers(freeze_setting(recipe), model.encoder, len(splits.train))
    count = max(layers_of(model.encoder).values()) + 1
    head_epochs = settings.epochs if frozen == count else min(settings.head_epochs, settings.epochs)
    stages: list[Stage] = []
    if head_epochs:
        parts = [train, held_out]
        # A chain of views is made anew at every step, and only what is the same every time can be kept.
        if model.spec.encoder not in OWN and (head_epochs < settings.epochs or recipe.progressive.views == 1):
            parts = [
                cached(train, model, prepared.digest, views=settings.cached_views, progress=progress),
                cached(held_out, model, prepared.digest, progress=progress) if len(held_out.indices) else held_out,
            ]
        stages.append(Stage(head_epochs, count, *parts))
    if head_epochs < settings.epochs:
        stages.append(Stage(settings.epochs, frozen, train, held_out))
    return tuple(stages), why if frozen or recipe.weights is not None else ""


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


def short_training(recipe: Recipe, prepared: Prepared) -> list[str]:
    """A warning when the recipe makes too few steps to learn from."""
    steps = training_steps(recipe, prepared)
    if steps >= FEW_STEPS:
        return []
    return [
        f"Only {steps} steps of training: too few to tell anything from. Take more --epochs or a smaller --batch-size."
    ]


def one_batch(recipe: Recipe, prepared: Prepared) -> tuple[Recipe, Prepared]:
    """The same run cut down to one epoch of one batch, for ``--dry-run``."""
    size = recipe.training.batch_size
    splits = prepared.splits
    train = _one_of_each_class_first(prepared.pixels.labels, splits.train)[: max(size, 1)]
    cut = replace(
        prepared, splits=Splits(train, splits.validation[:size], splits.calibration[:size], splits.test[:size])
    )
    return recipe.changed(**{"training.epochs": 1}), cut


def _one_of_each_class_first(labels: data.images.Labels, indices: Indices) -> Indices:
    _, first = np.unique(labels[indices], return_index=True)
    rest = np.setdiff1d(np.arange(len(indices)), first)
    ordered: Indices = indices[np.concatenate([first, rest])]
    return ordered
