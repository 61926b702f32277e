"""What changes while training: made from a recipe, advanced by the loop, saved by checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steradian.losses import spread_directions
from steradian.models.recognizer import Recognizer
from steradian.training.recipe import TrainingSettings
from steradian.training.schedules import Watch


@dataclass
class TrainingState:
    """Encoder, neck and head (``model``), auxiliary head, optimizer, schedule and position.

    Attributes:
        step: optimizer steps done in all.
        epoch: epochs finished.
        step_in_epoch: batches of the running epoch that are done.
        loss_sum: sum of the losses of those batches.
        history: one row per finished epoch.
        best: the weights with the best validation loss, where early stopping keeps them.
        silent: head parameters that have not had a gradient other than 0 yet.
        seconds: spent on the training steps of each epoch that ran without interruption.
    """

    model: Recognizer
    auxiliary: nn.Linear | None
    optimizer: torch.optim.Optimizer
    watch: Watch = field(default_factory=Watch)
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    silent: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)

    @functools.cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Every parameter that the optimizer moves."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def modules(self) -> dict[str, nn.Module]:
        """The trained modules by the names that checkpoints use."""
        found: dict[str, nn.Module] = {"model": self.model}
        if self.auxiliary is not None:
            found["auxiliary"] = self.auxiliary
        return found

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every trained parameter, in a fixed order, with its name in checkpoints."""
        for prefix, module in self.modules().items():
            for name, parameter in module.named_parameters():
                yield f"{prefix}.{name}", parameter


def make_state(model: Recognizer, settings: TrainingSettings) -> TrainingState:
    """A fresh state for ``model``: centers placed, auxiliary head added, optimizer made."""
    num_classes = len(model.spec.classes)
    weight = model.as_head.weight
    if settings.centers == "spread" and isinstance(weight, nn.Parameter):
        _spread(weight, num_classes, settings.seed)
    auxiliary = nn.Linear(model.num_features, num_classes).to(weight.device) if settings.auxiliary > 0 else None
    optimizer = _optimizer(model, auxiliary, settings)
    silent = {name for name, parameter in model.head.named_parameters() if parameter.requires_grad}
    return TrainingState(model, auxiliary, optimizer, silent=silent)


@torch.no_grad()
def _spread(weight: Tensor, num_classes: int, seed: int) -> None:
    """Place one center a class [C, D], or K sub-centers around it [C * K, D], a tenth of its length apart."""
    directions = spread_directions(num_classes, weight.shape[1], seed)
    count = len(weight) // num_classes
    if count > 1:
        generator = torch.Generator().manual_seed(seed)
        directions = directions.repeat_interleave(count, dim=0)
        directions += 0.1 * torch.randn(directions.shape, generator=generator) / weight.shape[1] ** 0.5
    weight.copy_(directions)


def _optimizer(model: Recognizer, auxiliary: nn.Linear | None, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Weight decay on matrices and convolutions of encoder and neck; the head at its own rate."""
    body = [*model.encoder.parameters(), *model.neck.parameters()]
    plain = [parameter for parameter in body if parameter.ndim < 2]
    if auxiliary is not None:
        plain += auxiliary.parameters()
    groups = [
        {"params": [p for p in body if p.ndim >= 2], "weight_decay": settings.weight_decay, "factor": 1.0},
        {"params": plain, "weight_decay": 0.0, "factor": 1.0},
        {"params": list(model.head.parameters()), "weight_decay": 0.0, "factor": settings.center_rate},
    ]
    groups = [group for group in groups if group["params"]]
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)
    return (torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam)(groups, lr=rate)
