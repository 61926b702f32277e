"""What cannot work is said before a folder is made; and a run cut down to one batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from steradian import data
from steradian.data.splits import Splits
from steradian.errors import InputError, UsageError
from steradian.losses import ClassCenters, MarginSoftmaxLoss
from steradian.models.pretrained import load_pretrained
from steradian.models.recognizer import Recognizer
from steradian.training import distributed
from steradian.training.assembly import head_options, model_spec, plan_stages
from steradian.training.batches import Indices
from steradian.training.imprinting import movable
from steradian.training.prepared import Prepared
from steradian.training.recipe import Recipe
from steradian.training.run import training_steps

FEW_STEPS = 60
"""Fewer steps than this teach hardly anything."""


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
    if settings.images_per_class is not None and settings.class_power != 1.0:
        raise UsageError(
            "training.images_per_class already shows all classes alike: leave training.class_power at 1, or set no "
            "images_per_class."
        )
    spec = model_spec(recipe, prepared)
    model = Recognizer(spec, head_options(recipe))
    if recipe.weights is not None:
        load_pretrained(model.encoder, spec.encoder, recipe.weights, recipe.transfer_layers)
    if settings.centers == "means":
        movable(model.head)
    _check_blends(recipe, prepared, model)
    _check_progressive(recipe, model)
    try:
        model.embed(torch.from_numpy(np.ascontiguousarray(prepared.pixels.pixels[:2])))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"The encoder {spec.encoder!r} cannot take images of {spec.preprocessing.size} px ({error}). "
            "Choose another --encoder or --image-size."
        ) from error


def _check_blends(recipe: Recipe, prepared: Prepared, model: Recognizer) -> None:
    """Raise `UsageError` where blends of images have no meaning, or no way to be trained on."""
    settings = recipe.training
    if settings.mixup == 0 and settings.cutmix == 0:
        return
    if settings.mixup > 0 and settings.cutmix > 0:
        raise UsageError("training.mixup and training.cutmix blend the same images: set one of them to 0.")
    name = "mixup" if settings.mixup > 0 else "cutmix"
    stages, _ = plan_stages(recipe, prepared, model)
    if settings.cutmix > 0 and any(stage.from_cache for stage in stages):
        raise UsageError(
            "training.cutmix cuts into images, and features of a frozen encoder have no place to cut at. Take "
            "training.mixup, or let layers learn: --freeze 0, and no head_epochs."
        )
    if not isinstance(model.head, ClassCenters):
        raise UsageError(
            f"training.{name} blends two classes in one image, and {recipe.loss.name!r} asks of two images whether "
            "they are of one class. Leave it at 0, or take a loss with class centers."
        )
    engine = model.head.engine if isinstance(model.head, MarginSoftmaxLoss) else None
    tiled = isinstance(model.head, MarginSoftmaxLoss) and model.head.plan(settings.batch_size).path != "dense"
    if distributed.ranks() > 1 or tiled or (engine is not None and engine.sampling is not None):
        raise UsageError(
            f"training.{name} passes the classes twice a step, which only a dense head in one process does. "
            "Leave it at 0, or set head=dense."
        )


def _check_progressive(recipe: Recipe, model: Recognizer) -> None:
    """Raise `UsageError` where several views of an image in a batch have no meaning."""
    settings, training = recipe.progressive, recipe.training
    if settings.views == 1:
        return
    if recipe.views is None or training.mixup > 0 or training.cutmix > 0:
        raise UsageError("progressive.views makes views of images: it needs views, and no mixup or cutmix.")
    tiled = isinstance(model.head, MarginSoftmaxLoss) and model.head.plan(training.batch_size).path != "dense"
    if settings.consistency != "angle" and (tiled or not isinstance(model.head, ClassCenters)):
        raise UsageError(
            f"progressive.consistency {settings.consistency!r} compares probabilities of all classes, which "
            f"{recipe.loss.name!r} has none of here. Set progressive.consistency to angle."
        )


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
