"""What changes while training: made from a recipe, advanced by the loop, saved by checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steradian.losses import ClassCenters, MarginSoftmaxLoss, spread_directions
from steradian.losses.directions import REPELLED as SPREAD_UP_TO
from steradian.losses.head.row_optimizer import RowOptimizer
from steradian.losses.head.sharded import Shard
from steradian.losses.head.sinks import Applied, InPlace
from steradian.models.encoders import layers_of
from steradian.models.recognizer import Recognizer
from steradian.training import distributed
from steradian.training.recipe import ProgressiveSettings, TrainingSettings
from steradian.training.schedules import Watch

AUXILIARY_UP_TO = 2048
"""More classes than this get no auxiliary head: it would cost as much as the head itself."""


@dataclass
class TrainingState:
    """Encoder, neck and head (``model``), auxiliary head, optimizers, schedule and position.

    Attributes:
        row_optimizer: of the class centers, where these are passed in tiles, sampled or divided; else None.
        step: optimizer steps done in all.
        epoch: epochs finished.
        step_in_epoch: batches of the running epoch that are done.
        loss_sum: sum of the losses of those batches.
        history: one row per finished epoch.
        best: the weights with the best validation loss, where early stopping keeps them.
        silent: head parameters that have not had a gradient other than 0 yet.
        progressive: how views of one image are held together.
        seconds: spent on the training steps of each epoch that ran without interruption.
    """

    model: Recognizer
    auxiliary: nn.Linear | None
    optimizer: torch.optim.Optimizer
    row_optimizer: RowOptimizer | None = None
    watch: Watch = field(default_factory=Watch)
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    silent: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    progressive: ProgressiveSettings = field(default_factory=ProgressiveSettings)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Both, or the one."""
        return [self.optimizer, *([self.row_optimizer] if self.row_optimizer is not None else [])]

    @functools.cached_property
    def bodies(self) -> list[nn.Parameter]:
        """Parameters of encoder, neck and auxiliary head: copies on every process."""
        modules = [self.model.encoder, self.model.neck, *([self.auxiliary] if self.auxiliary is not None else [])]
        return [parameter for module in modules for parameter in module.parameters()]

    @property
    def shard(self) -> Shard | None:
        """The classes of this process, where they are divided."""
        head = self.model.head
        return head.engine.shard if isinstance(head, MarginSoftmaxLoss) else None

    @functools.cached_property
    def divided(self) -> set[str]:
        """Names of the parameters and buffers whose rows are classes and divided over the processes."""
        if self.shard is None:
            return set()
        return {f"model.head.{name}" for name in ("weight", "bias") if getattr(self.model.head, name, None) is not None}

    def moments(self, parameter: nn.Parameter) -> dict[str, Any]:
        """What the optimizers remember of ``parameter``; to be filled by a checkpoint."""
        own = self.row_optimizer is not None and parameter is self.model.head.weight
        found: dict[str, Any] = (self.row_optimizer if own and self.row_optimizer else self.optimizer).state[parameter]
        return found

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
        _spread(model.head, weight, num_classes, settings.seed)
    helped = settings.auxiliary > 0 and num_classes <= AUXILIARY_UP_TO
    auxiliary = nn.Linear(model.num_features, num_classes).to(weight.device) if helped else None
    row_optimizer = _row_optimizer(model.head, settings)
    optimizer = _optimizer(model, auxiliary, settings, row_optimizer)
    silent = {name for name, parameter in model.head.named_parameters() if parameter.requires_grad}
    if row_optimizer is not None:
        # Its gradient may be applied before anything could look at it.
        silent.discard("weight")
    return TrainingState(model, auxiliary, optimizer, row_optimizer, silent=silent)


def plan_line(state: TrainingState, batch_size: int) -> str | None:
    """How batches meet the classes, in a line; None for losses without class centers."""
    head = state.model.head
    if isinstance(head, MarginSoftmaxLoss):
        return str(head.plan(batch_size))
    return "dense" if isinstance(head, ClassCenters) else None


def _row_optimizer(head: nn.Module, settings: TrainingSettings) -> RowOptimizer | None:
    """For class centers that are not passed as one small matrix, and where their gradient goes."""
    if not isinstance(head, MarginSoftmaxLoss) or not isinstance(head.weight, nn.Parameter):
        return None
    head.train()
    head.engine.reserved = head.weight.nbytes * (1 if settings.optimizer == "sgd" else 2)
    if settings.bf16 and head.weight.is_cuda:
        head.engine.product_dtype = torch.bfloat16
    if head.plan(settings.batch_size).path == "dense":
        return None
    rate = settings.learning_rate * settings.center_rate
    optimizer = RowOptimizer(head.weight, settings.optimizer, lr=rate, momentum=settings.momentum)
    if head.engine.sampling is None:
        head.engine.sink = InPlace(head.weight)
        plan = head.plan(settings.batch_size)
        if distributed.anyone(plan.kept == 0 and plan.tiles > 0):
            # Memory is short: the gradient need not exist, which leaves it unclipped.
            head.engine.sink = Applied(optimizer)
    return optimizer


@torch.no_grad()
def _spread(head: nn.Module, weight: Tensor, num_classes: int, seed: int) -> None:
    """Place one center a class [C, D], or K sub-centers around it [C * K, D], a tenth of its length apart."""
    if num_classes > SPREAD_UP_TO and 2 < weight.shape[1] < num_classes - 1:
        # Spreading would leave them to chance too, at the price of a second array of them all.
        return
    directions = spread_directions(num_classes, weight.shape[1], seed)
    count = head.subcenters if isinstance(head, ClassCenters) else 1
    if count > 1:
        generator = torch.Generator().manual_seed(seed)
        directions = directions.repeat_interleave(count, dim=0)
        directions += 0.1 * torch.randn(directions.shape, generator=generator) / weight.shape[1] ** 0.5
    weight.copy_(directions[head.engine.rows] if isinstance(head, MarginSoftmaxLoss) else directions)


def _optimizer(
    model: Recognizer, auxiliary: nn.Linear | None, settings: TrainingSettings, row_optimizer: RowOptimizer | None
) -> torch.optim.Optimizer:
    """Weight decay on matrices and convolutions of encoder and neck; the head and each layer at its own rate."""
    above = [*model.neck.parameters(), *(auxiliary.parameters() if auxiliary is not None else [])]
    layers = layers_of(model.encoder)
    top = max(layers.values()) + 1
    bodies = {1.0: above}
    for name, parameter in model.encoder.named_parameters():
        bodies.setdefault(settings.layer_decay ** (top - layers[name]), []).append(parameter)
    fixed = {id(parameter) for parameter in (auxiliary.parameters() if auxiliary is not None else [])}
    head = [p for p in model.head.parameters() if row_optimizer is None or p is not model.head.weight]
    groups: list[dict[str, Any]] = []
    for factor, body in bodies.items():
        decayed = [p for p in body if p.ndim >= 2 and id(p) not in fixed]
        rest = [p for p in body if p.ndim < 2 or id(p) in fixed]
        groups.append({"params": decayed, "weight_decay": settings.weight_decay, "factor": factor})
        groups.append({"params": rest, "weight_decay": 0.0, "factor": factor})
    groups.append({"params": head, "weight_decay": 0.0, "factor": settings.center_rate})
    groups = [group for group in groups if group["params"]]
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)
    return (torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam)(groups, lr=rate)
