"""Stages of a training: which layers learn, on what, until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from steradian.models.encoders import layers_of
from steradian.training.batches import Batches
from steradian.training.recipe import TrainingSettings

PARAMETERS_AN_IMAGE = 100
"""More learning parameters than this for each training image are too many (`frozen_layers`)."""


@dataclass(frozen=True)
class StagePlan:
    """Epochs from the end of the stage before to ``until``, in which the first ``frozen`` layers do not learn.

    Attributes:
        from_cache: whether all layers are frozen, so that features are made once and kept.
    """

    until: int
    frozen: int
    from_cache: bool


@dataclass(frozen=True)
class Stage:
    """Epochs from the end of the stage before to ``until``, in which the first ``frozen`` layers do not learn.

    Attributes:
        train, validation: batches to learn from and to watch.
    """

    until: int
    frozen: int
    train: Batches
    validation: Batches | None = None


def single_stage(settings: TrainingSettings, train: Batches, validation: Batches | None = None) -> tuple[Stage, ...]:
    """All epochs with every layer learning."""
    return (Stage(settings.epochs, 0, train, validation),)


def stage_at(stages: Sequence[Stage], epoch: int) -> Stage:
    """The one that ``epoch`` belongs to."""
    return next((stage for stage in stages if epoch < stage.until), stages[-1])


def stage_progress(stages: Sequence[Stage], epoch: int, step_in_epoch: int) -> float:
    """Share of the steps of the stage of ``epoch`` that are done: each stage has a schedule of its own."""
    stage = stage_at(stages, epoch)
    begun = max((earlier.until for earlier in stages if earlier.until <= epoch), default=0)
    steps = len(stage.train)
    return ((epoch - begun) * steps + step_in_epoch) / ((stage.until - begun) * steps)


def frozen_layers(setting: int | Literal["all", "auto"], encoder: nn.Module, images: int) -> tuple[int, str]:
    """How many layers stay as they are, and why.

    "auto" follows the lecture's rule (system C): few images and layers with many parameters overfit, so freeze those;
    otherwise fine-tune. As many of the upper layers learn as have at most `PARAMETERS_AN_IMAGE` parameters for each
    training image.
    """
    layers = layers_of(encoder)
    count = max(layers.values()) + 1
    if setting == "all":
        return count, f"all {count} layers of the encoder are frozen, as asked"
    if setting != "auto":
        return min(setting, count), f"{min(setting, count)} of {count} layers of the encoder are frozen, as asked"
    sizes = [0] * count
    for name, layer in layers.items():
        sizes[layer] += encoder.get_parameter(name).numel()
    budget, learning, frozen = PARAMETERS_AN_IMAGE * images, 0, count
    while frozen > 0 and learning + sizes[frozen - 1] <= budget:
        frozen -= 1
        learning += sizes[frozen]
    room = f"{PARAMETERS_AN_IMAGE} for each of {images:,} training images"
    if frozen == 0:
        return 0, f"no layer is frozen: {learning:,} parameters are at most {room}"
    more = learning + sizes[frozen - 1]
    return frozen, f"{frozen} of {count} layers are frozen: with one more, {more:,} parameters would be over {room}"
