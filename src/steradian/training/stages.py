"""Stages of a training: which layers are trained, on which batches, until which epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from steradian.models.encoders import layers_of
from steradian.training.batches import Batches

PARAMETERS_AN_IMAGE = 100
"""Most trained parameters for each training image (`frozen_layers`)."""


@dataclass(frozen=True)
class StagePlan:
    """Epochs up to ``until`` with the first ``frozen`` layers frozen; ``from_cache``: what these give is cached."""

    until: int
    frozen: int
    from_cache: bool


@dataclass(frozen=True)
class Stage:
    """A `StagePlan` with the batches to train on and to validate on."""

    until: int
    frozen: int
    train: Batches
    validation: Batches | None = None


def stage_at(stages: Sequence[Stage], epoch: int) -> Stage:
    """Return the stage that ``epoch`` belongs to."""
    return next((stage for stage in stages if epoch < stage.until), stages[-1])


def stage_progress(stages: Sequence[Stage], epoch: int, step_in_epoch: int) -> float:
    """Return the share of steps done in the stage of ``epoch``: each stage has its own schedule."""
    stage = stage_at(stages, epoch)
    begun = max((earlier.until for earlier in stages if earlier.until <= epoch), default=0)
    steps = len(stage.train)
    return ((epoch - begun) * steps + step_in_epoch) / ((stage.until - begun) * steps)


def frozen_layers(setting: int | Literal["all", "auto"], encoder: nn.Module, images: int) -> tuple[int, str]:
    """Return how many layers are frozen, and why.

    "auto" follows the lecture's rule (system C): few images and layers with many parameters overfit, so freeze those;
    otherwise fine-tune. As many upper layers are trained as have together at most `PARAMETERS_AN_IMAGE` parameters
    for each training image.
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
    budget, trained, frozen = PARAMETERS_AN_IMAGE * images, 0, count
    while frozen > 0 and trained + sizes[frozen - 1] <= budget:
        frozen -= 1
        trained += sizes[frozen]
    limit = f"{PARAMETERS_AN_IMAGE} for each of {images:,} training images"
    if frozen == 0:
        return 0, f"no layer is frozen: {trained:,} parameters are at most {limit}"
    more = trained + sizes[frozen - 1]
    return frozen, f"{frozen} of {count} layers are frozen: with one fewer, {more:,} parameters would be over {limit}"
