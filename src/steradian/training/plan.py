"""The plan of a training: everything that a recipe and its data decide together, made once and handed on."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from steradian.data.progressive import HarderView, ProgressiveViews
from steradian.data.sampling import epoch_length
from steradian.data.splits import Splits
from steradian.data.views import RandomView
from steradian.errors import InputError, UsageError
from steradian.losses import HEAD_OPTIONS, fitted_options, preset
from steradian.models.encoders import OWN, build_encoder, check_encoder, check_lower_layers, default_encoder, layers_of
from steradian.models.heads import training_head_options
from steradian.models.manifest import ModelSpec
from steradian.models.pretrained import PretrainedWeights
from steradian.models.recognizer import Recognizer
from steradian.models.staged import StagedEncoder, bare
from steradian.training import distributed
from steradian.training.activations import SMALL, activation_bytes, memory_limits, part_size
from steradian.training.adaptation.reduction import reduced
from steradian.training.batches import Batches, Indices
from steradian.training.dataset import TrainingData
from steradian.training.recipe import Recipe
from steradian.training.resources import environment, pick_device
from steradian.training.stages import StagePlan, frozen_layers

GRID_STAGES = 3
"""The same of an adaptation with a grid: an earlier stage has the places that the last ones lack."""

ADAPTED_STAGES = 2
"""Number of last stages whose averages join the features that an adaptation may use."""

FEW_STEPS = 60
"""A run of fewer steps than this learns hardly anything."""


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that a recipe and its data decide. Preflight, training, resume and report receive one plan.

    Attributes:
        recipe: the recipe, with its encoder named.
        data: the decoded images in their parts.
        model: the recognizer, built once and filled with pretrained weights; training changes it.
        head_options: head options for training only; not saved.
        stages: which layers learn, until which epoch, on cached features or on images; none where all is fitted in
            closed form.
        frozen_because: the reason for the number of frozen layers; empty if it was not chosen automatically.
        at_once: images that pass through the encoder together while it learns; None: the whole batch.
        rng_state: torch's random state right after the model was built.
    """

    recipe: Recipe
    data: TrainingData
    model: Recognizer
    head_options: dict[str, Any]
    stages: tuple[StagePlan, ...]
    frozen_because: str
    rng_state: Tensor
    at_once: int | None = None

    @property
    def spec(self) -> ModelSpec:
        """The spec that the model is built from."""
        return self.model.spec

    @cached_property
    def learns_nothing_in_encoder(self) -> bool:
        """Whether all layers of the encoder stay frozen to the end."""
        return self.stages[-1].frozen > max(layers_of(self.model.encoder).values())

    @property
    def steps(self) -> int:
        """Return the number of optimizer steps of the whole run."""
        return training_steps(self.recipe, self.data)

    @property
    def digests(self) -> dict[str, str]:
        """Hashes of recipe and data, which a resumed run must match."""
        return {"recipe": self.recipe.digest(), "data": self.data.digest}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings to show before training."""
        return (*self.data.warnings, *(() if self.recipe.adapts else few_steps_warning(self.steps)))

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Those of before training, and the damaged images that were met since."""
        return (*self.warnings, *self.data.damage_warning())

    def batches(self, indices: Indices) -> Batches:
        """Return batches of the images at ``indices``, with the random views of the recipe."""
        recipe, settings = self.recipe, self.recipe.training
        return Batches(
            pixels=self.data.pixels,
            indices=indices,
            preprocessing=self.data.preprocessing,
            batch_size=settings.batch_size,
            seed=settings.seed,
            view=_random_view(recipe, self.data.pixels.channels),
            view_steps=_view_steps(recipe, self.steps),
            memory_format=torch.channels_last if settings.channels_last else torch.contiguous_format,
            device=pick_device(),
            images_per_class=settings.images_per_class,
            class_power=settings.class_power,
            crop=recipe.views.crop if recipe.views is not None else 1.0,
            at_once=self.at_once,
        )

    @property
    def divides_encoder(self) -> bool:
        """Whether every process of the group keeps a part of the encoder only."""
        return self.recipe.training.shard_encoder and distributed.world_size() > 1

    @property
    def lines(self) -> tuple[str, ...]:
        """What was decided about reading, memory and layers, a line each, to show before the first step."""
        parts = math.ceil(self.recipe.training.batch_size / self.at_once) if self.at_once is not None else 1
        memory = (
            f"a batch of {self.recipe.training.batch_size} passes in {parts} parts of {self.at_once} images, whose "
            "activations are computed twice, because all would take too much memory; batch norm sees a part "
            "(training.images_at_once)"
        )
        divided = f"divided over {distributed.world_size()} processes (training.shard_encoder)"
        named = (
            ("data", self.data.reading),
            ("encoder", self.frozen_because),
            ("encoder", divided if self.divides_encoder else ""),
            ("memory", memory if parts > 1 else ""),
        )
        return tuple(f"{what}: {line}" for what, line in named if line)

    def provenance(self, command: str) -> dict[str, Any]:
        """Return where the numbers of this run come from: command, date, data, seed, versions."""
        return provenance(self.recipe, self.data, command)


def make_plan(recipe: Recipe, data: TrainingData) -> TrainingPlan:
    """Decide everything and build the model, a function of recipe, data and seed.

    Args:
        recipe: with its encoder named, as `Dataset.open` gives it.

    Raises:
        UsageError: unknown names; several processes and a loss that cannot be sharded; settings that exclude each
            other.
        InputError: options out of range.
        StorageError: pretrained weights that cannot be read or do not fit.
    """
    settings = recipe.training
    head_options = training_head_options(recipe.loss.name, recipe.loss.options, distributed.world_size())
    spec = model_spec(recipe, data)
    torch.manual_seed(settings.seed)
    model = Recognizer(spec, head_options)
    if recipe.weights is not None:
        PretrainedWeights.open(spec.encoder, recipe.weights).fill(model.encoder, recipe.transfer_layers)
    rng_state = torch.get_rng_state()
    model = model.to(pick_device())
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    stages, why = _plan_stages(recipe, model, len(data.splits.train))
    at_once = _images_at_once(recipe, model, stages)
    if settings.shard_encoder and any(stage.from_cache for stage in stages):
        raise UsageError(
            "training.shard_encoder divides an encoder that learns, but here features of a frozen one are computed "
            "once (training.freeze: all, training.head_epochs or training.cached_maps). Leave one of them out."
        )
    if settings.shard_encoder and settings.optimizer == "muon":
        raise UsageError(
            "training.optimizer=muon updates whole matrices, but training.shard_encoder divides them over the "
            "processes. Choose another optimizer, or leave out training.shard_encoder."
        )
    if settings.recompute:
        _recompute_blocks(model.encoder, spec.encoder)
    return TrainingPlan(recipe, data, model, head_options, stages, why, rng_state, at_once)


def model_spec(recipe: Recipe, data: TrainingData) -> ModelSpec:
    """Return the recognizer that the recipe describes, for these images."""
    pixels = data.pixels
    encoder = recipe.encoder if recipe.encoder is not None else default_encoder(pixels.size)
    check_encoder(encoder)
    if recipe.adapts:
        return _adapted_spec(recipe, encoder, data)
    chosen = {key: value for key, value in recipe.loss.options.items() if key not in HEAD_OPTIONS}
    options = fitted_options(recipe.loss.name, len(pixels.classes), recipe.embedding_size, **chosen)
    if "class_counts" in preset(recipe.loss.name).options() and options.get("class_counts") is None:
        train_labels = pixels.labels[data.splits.train]
        options["class_counts"] = np.bincount(train_labels, minlength=len(pixels.classes)).tolist()
    return ModelSpec(
        encoder=encoder,
        embedding_size=recipe.embedding_size,
        loss=recipe.loss.name,
        loss_options=options,
        classes=pixels.classes,
        preprocessing=data.preprocessing,
        neck=recipe.neck,
        stages=recipe.stages,
        grid=recipe.grid,
        pooling=recipe.pooling,
        flip_tta=recipe.flip_tta,
    )


def _adapted_spec(recipe: Recipe, encoder: str, data: TrainingData) -> ModelSpec:
    """Return a recognizer with an affine embedding of all features and a linear classifier on it."""
    shape = data.preprocessing
    grid, stages = recipe.grid, GRID_STAGES if recipe.grid else ADAPTED_STAGES
    stages = 0 if encoder in OWN else stages
    with torch.device("meta"):
        try:
            built, features = build_encoder(encoder, channels=shape.channels, size=shape.size, stages=stages, grid=grid)
            if grid and isinstance(built, StagedEncoder):
                features = sum(reduced(built.sizes))
        except InputError:
            if grid:
                raise
            stages = 0
            _, features = build_encoder(encoder, channels=shape.channels, size=shape.size)
    return ModelSpec(
        encoder=encoder,
        embedding_size=features,
        loss="softmax",
        loss_options={"bias": True},
        classes=data.pixels.classes,
        preprocessing=shape,
        neck="affine",
        stages=stages,
        grid=grid,
        flip_tta=recipe.flip_tta,
    )


def _plan_stages(recipe: Recipe, model: Recognizer, images: int) -> tuple[tuple[StagePlan, ...], str]:
    """Return the stages of a training, and why so many layers are frozen."""
    if recipe.adapts:
        return (), ""
    settings = recipe.training
    asked: int | Literal["all", "auto"] = "auto" if recipe.weights is not None else 0
    asked = settings.freeze if settings.freeze is not None else asked
    frozen, why = frozen_layers(asked, model.encoder, images)
    count = max(layers_of(model.encoder).values()) + 1
    head_epochs = settings.epochs if frozen == count else min(settings.head_epochs, settings.epochs)
    # A chain of views is made anew at every step, and only what is the same every time can be cached.
    cached = model.spec.encoder not in OWN and (head_epochs < settings.epochs or recipe.progressive.views == 1)
    plans = [StagePlan(head_epochs, count, cached)] if head_epochs else []
    if head_epochs < settings.epochs:
        if settings.cached_maps:
            check_lower_layers(model.encoder, frozen)
            if recipe.progressive.views > 1:
                raise UsageError(
                    "training.cached_maps caches single views, but progressive.views is above 1: leave one of them out."
                )
        plans.append(StagePlan(settings.epochs, frozen, settings.cached_maps))
    if all(plan.from_cache for plan in plans) and settings.cached_views == 1 and recipe.views is not None:
        why += "; features are computed once, so that random views have no effect (training.cached_views has some)"
    return tuple(plans), why if frozen or recipe.weights is not None else ""


def _images_at_once(recipe: Recipe, model: Recognizer, stages: Sequence[StagePlan]) -> int | None:
    """Return how many images pass through the encoder together: as asked, or by the memory of their activations."""
    settings, shape = recipe.training, model.preprocessing
    views = recipe.progressive.views if recipe.views is not None else 1
    batch = math.ceil(settings.batch_size / distributed.world_size()) * views
    learning = [stage.frozen for stage in stages if not stage.from_cache]
    if settings.images_at_once is not None:
        return settings.images_at_once if settings.images_at_once < batch else None
    if not learning or settings.recompute or batch * shape.channels * shape.size**2 <= SMALL:
        return None
    size = (shape.channels, shape.size, shape.size)
    an_image = activation_bytes(model.encoder, size, min(learning))
    return part_size(batch, an_image // (2 if settings.bf16 else 1), memory_limits(pick_device()))


def _recompute_blocks(encoder: nn.Module, name: str) -> None:
    """Keep only what lies between the blocks of a timm encoder. Raises `UsageError` for any other."""
    body: Any = bare(encoder)
    if not hasattr(body, "set_grad_checkpointing"):
        raise UsageError(
            f"training.recompute needs blocks that can be computed again, which {name!r} does not have. Use "
            "training.images_at_once instead."
        )
    body.set_grad_checkpointing(True)


def _random_view(recipe: Recipe, channels: int) -> RandomView | ProgressiveViews | None:
    if recipe.views is None:
        return None
    limits = recipe.views.model_dump(exclude={"until", "crop"})
    flip = limits["flip"] if limits["flip"] is not None else (0.5 if channels == 3 else 0.0)
    view = RandomView(**{**limits, "flip": flip})
    if recipe.progressive.views == 1:
        return view
    parts = recipe.progressive.model_dump(exclude={"views", "consistency", "weight"})
    return ProgressiveViews(view, HarderView(**parts), recipe.progressive.views)


def _view_steps(recipe: Recipe, total: int) -> int:
    """Return how many of the ``total`` steps of a training use random views."""
    until = recipe.views.until if recipe.views is not None else 0.0
    # A step uses them while the share of steps done before it is below ``until``.
    return next((step for step in range(max(0, int(until * total) - 1), total) if step / total >= until), total)


def training_steps(recipe: Recipe, data: TrainingData) -> int:
    """Return the number of optimizer steps of a whole run."""
    settings = recipe.training
    labels = data.pixels.labels[data.splits.train]
    return epoch_length(labels, settings.batch_size, settings.images_per_class) * settings.epochs


def few_steps_warning(steps: int) -> list[str]:
    """Return a warning if a run of so many steps learns too little to draw conclusions from."""
    if steps >= FEW_STEPS:
        return []
    return [
        f"Only {steps} training step{'s' * (steps != 1)}: too few to draw conclusions from. "
        "Use more --epochs or a smaller --batch-size."
    ]


def provenance(recipe: Recipe, data: TrainingData, command: str) -> dict[str, Any]:
    """Return where numbers come from: command, date, data, seed, versions."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "data": {
            "source": data.pixels.source,
            "digest": data.digest,
            "images": len(data.pixels),
            "warnings": list(data.warnings),
        },
        "recipe": recipe.digest(),
        "seed": recipe.training.seed,
        **environment(),
    }


def one_batch(recipe: Recipe, data: TrainingData) -> tuple[Recipe, TrainingData]:
    """Return recipe and data of the same run cut down to one epoch of one batch, for ``--dry-run``."""
    size, splits, labels = recipe.training.batch_size, data.splits, data.pixels.labels
    _, first = np.unique(labels[splits.train], return_index=True)
    rest = np.setdiff1d(np.arange(len(splits.train)), first)
    train = splits.train[np.concatenate([first, rest])][: max(size, 1)]
    parts = Splits(train, splits.validation[:size], splits.calibration[:size], splits.test[:size])
    return recipe.changed(**{"training.epochs": 1}), replace(data, splits=parts)
