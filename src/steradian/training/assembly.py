"""What a recipe describes, built: model, batches, training state, stages."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.data.progressive import HarderView, ProgressiveViews
from steradian.data.views import RandomView
from steradian.errors import UsageError
from steradian.losses import HEAD_OPTIONS, fitted_options, preset
from steradian.losses.head.plan import HEADS
from steradian.losses.head.sampled import DEFAULT_RATE
from steradian.losses.ranges import one_of
from steradian.models.encoders import OWN, check_encoder, default_encoder, layers_of
from steradian.models.pretrained import load_pretrained
from steradian.models.recognizer import ModelSpec, Recognizer
from steradian.training import distributed
from steradian.training.batches import Batches, Indices
from steradian.training.features import cached
from steradian.training.prepared import Prepared
from steradian.training.recipe import Recipe
from steradian.training.resources import pick_device
from steradian.training.stages import Stage, StagePlan, frozen_layers
from steradian.training.state import TrainingState, make_state


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
        pooling=recipe.pooling,
        mirrored=recipe.mirrored,
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
        class_power=settings.class_power,
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


def plan_stages(recipe: Recipe, prepared: Prepared, model: Recognizer) -> tuple[list[StagePlan], str]:
    """The stages of a training, and why which layers are frozen."""
    settings = recipe.training
    frozen, why = frozen_layers(freeze_setting(recipe), model.encoder, len(prepared.splits.train))
    count = max(layers_of(model.encoder).values()) + 1
    head_epochs = settings.epochs if frozen == count else min(settings.head_epochs, settings.epochs)
    # A chain of views is made anew at every step, and only what is the same every time can be kept.
    kept = model.spec.encoder not in OWN and (head_epochs < settings.epochs or recipe.progressive.views == 1)
    plans = [StagePlan(head_epochs, count, kept)] if head_epochs else []
    if head_epochs < settings.epochs:
        plans.append(StagePlan(settings.epochs, frozen, False))
    return plans, why if frozen or recipe.weights is not None else ""


def make_stages(
    recipe: Recipe, prepared: Prepared, model: Recognizer, progress: DataProgress = no_progress
) -> tuple[tuple[Stage, ...], str]:
    """The stages of `plan_stages` with their batches. Features of frozen encoders are made once and kept."""
    splits, views = prepared.splits, recipe.training.cached_views
    parts = [make_batches(recipe, prepared, part) for part in (splits.train, splits.validation)]
    plans, why = plan_stages(recipe, prepared, model)
    stages: list[Stage] = []
    for plan in plans:
        train, held_out = parts
        if plan.from_cache:
            train = cached(train, model, prepared.digest, views=views, progress=progress)
            if len(held_out.indices):
                held_out = cached(held_out, model, prepared.digest, progress=progress)
        stages.append(Stage(plan.until, plan.frozen, train, held_out))
    return tuple(stages), why
