"""Refuse what cannot work before a folder is made."""

from __future__ import annotations

import math

import torch

from steradian.errors import InputError, UsageError
from steradian.training import distributed
from steradian.training.plan import TrainingPlan


def preflight(plan: TrainingPlan) -> None:
    """Embed two images, and check that the settings of the recipe go together.

    Raises:
        UsageError: early stopping or plateau without validation images; statistics of no weights; settings that exclude
            each other.
        InputError: an encoder that cannot take images of this size.
    """
    settings = plan.recipe.training
    needs = "early_stopping" if settings.early_stopping is not None else settings.schedule
    if needs in ("early_stopping", "plateau") and len(plan.data.splits.validation) == 0:
        raise UsageError(f"training: {needs} needs validation images, but there are none: set data.validation above 0.")
    if settings.average is not None and settings.early_stopping is not None:
        raise UsageError(
            "training.average ends with the mean of the weights, and training.early_stopping with the best ones: set "
            "only one of them."
        )
    if settings.keep_statistics and plan.recipe.weights is None:
        raise UsageError(
            "training.keep_statistics keeps those of pretrained weights, but there are none: set weights, or leave it "
            "out."
        )
    if plan.recipe.adapt == "full" and plan.recipe.grid:
        raise UsageError("grid is for --adapt auto, which leaves the encoder as it is: set grid: 0, or leave full out.")
    if settings.images_per_class is not None and settings.class_power != 1.0:
        raise UsageError(
            "training.images_per_class already shows all classes equally often: leave training.class_power at 1, or "
            "set no images_per_class."
        )
    if settings.centers == "means" and not plan.model.head.can_imprint:
        plan.model.head.imprint([])
    _check_blends(plan)
    _check_progressive(plan)
    spec = plan.spec
    try:
        shape = (2, *plan.data.pixels.pixels.shape[1:])
        plan.model.embed(torch.arange(math.prod(shape)).remainder(256).to(torch.uint8).view(shape))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"The encoder {spec.encoder!r} cannot take images of {spec.preprocessing.size} px ({error}). "
            "Choose another --encoder or --image-size."
        ) from error


def _check_blends(plan: TrainingPlan) -> None:
    """Raise `UsageError` if mixup or cutmix cannot work with this recipe."""
    settings, head = plan.recipe.training, plan.model.head
    if settings.mixup == 0 and settings.cutmix == 0:
        return
    if settings.mixup > 0 and settings.cutmix > 0:
        raise UsageError("training.mixup and training.cutmix blend the same images: set one of them to 0.")
    name = "mixup" if settings.mixup > 0 else "cutmix"
    if settings.cutmix > 0 and any(stage.from_cache for stage in plan.stages):
        raise UsageError(
            "training.cutmix pastes into images, and cached features of a frozen encoder have no image to paste into. "
            "Use training.mixup, or let layers learn: --freeze 0, and no head_epochs."
        )
    if not head.has_class_logits:
        raise UsageError(
            f"training.{name} blends two classes in one image, but {plan.recipe.loss.name!r} compares pairs of images. "
            "Leave it at 0, or use a loss with class centers."
        )
    if distributed.world_size() > 1 or not head.builds_all_logits(settings.batch_size):
        raise UsageError(
            f"training.{name} computes the loss twice per step, which needs a dense head in one process. "
            "Leave it at 0, or set head=dense."
        )


def _check_progressive(plan: TrainingPlan) -> None:
    """Raise `UsageError` if several views of an image in a batch cannot work with this recipe."""
    recipe, settings = plan.recipe, plan.recipe.progressive
    if settings.views == 1:
        return
    if recipe.views is None or recipe.training.mixup > 0 or recipe.training.cutmix > 0:
        raise UsageError("progressive.views needs random views and no mixup or cutmix: set views, and set both to 0.")
    if settings.consistency != "angle" and not plan.model.head.builds_all_logits(recipe.training.batch_size):
        raise UsageError(
            f"progressive.consistency {settings.consistency!r} compares probabilities of all classes, which "
            f"{recipe.loss.name!r} does not have here. Set progressive.consistency to angle."
        )
