"""The training state: made from a recipe, advanced by the loop, saved in checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steradian.models.recognizer import Recognizer
from steradian.training.muon import Muon
from steradian.training.optimizers import make_optimizers
from steradian.training.recipe import ProgressiveSettings, TrainingSettings
from steradian.training.schedules import PlateauTracker
from steradian.training.sharded_encoder import is_sharded
from steradian.training.step_clock import StepClock

AUXILIARY_UP_TO = 2048
"""More classes than this get no auxiliary head: it would cost as much as the head itself."""


@dataclass
class TrainingState:
    """Encoder, neck and head (``model``), auxiliary head, optimizers, schedule and position.

    Attributes:
        optimizer: of all parameters that no other optimizer has.
        center_optimizer: of the class centers, where these are passed in tiles, sampled or divided; else None.
        muon: of filters and matrices of encoder and neck (``training.optimizer: muon``), else None.
        step: total optimizer steps done.
        epoch: epochs finished.
        step_in_epoch: batches done in the current epoch.
        loss_sum: sum of the losses of those batches.
        history: one row per finished epoch.
        best: the weights with the best validation loss, if early stopping is on.
        mean: the running mean of the weights, if there is one.
        silent: head parameters that have not yet received a nonzero gradient.
        progressive: settings of the consistency loss between views of one image.
        seconds: training time of each epoch that ran without interruption.
        speeds: images a second and share of the time that images were waited for, of each epoch.
        clock, spent: where the time of this epoch and of those before it went, since the last start.
    """

    model: Recognizer
    auxiliary: nn.Linear | None
    optimizer: torch.optim.Optimizer
    center_optimizer: torch.optim.Optimizer | None = None
    muon: Muon | None = None
    plateau: PlateauTracker = field(default_factory=PlateauTracker)
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    mean: dict[str, Tensor] | None = None
    silent: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    progressive: ProgressiveSettings = field(default_factory=ProgressiveSettings)
    speeds: list[dict[str, float]] = field(default_factory=list)
    clock: StepClock = field(default_factory=StepClock)
    spent: StepClock = field(default_factory=StepClock)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All optimizers: one to three."""
        return [one for one in (self.optimizer, self.center_optimizer, self.muon) if one is not None]

    @functools.cached_property
    def _owners(self) -> dict[nn.Parameter, torch.optim.Optimizer]:
        return {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    @property
    def kept(self) -> dict[str, dict[str, Tensor]]:
        """Weights beside the present ones by their names in checkpoints, the one that training ends with first."""
        kept = {"mean": self.mean, "best": self.best}
        return {name: weights for name, weights in kept.items() if weights is not None}

    @functools.cached_property
    def replicated(self) -> list[nn.Parameter]:
        """Parameters of encoder, neck and auxiliary head that every process has whole."""
        encoder = [] if is_sharded(self.model.encoder) else [self.model.encoder]
        modules = [*encoder, self.model.neck, *([self.auxiliary] if self.auxiliary is not None else [])]
        return [parameter for module in modules for parameter in module.parameters()]

    @functools.cached_property
    def sharded(self) -> frozenset[str]:
        """Names of the parameters that are divided over the processes: class centers, and those of a large encoder."""
        names = [f"head.{name}" for name in self.model.head.sharded_names]
        if is_sharded(self.model.encoder):
            names += [f"encoder.{name}" for name, _ in self.model.encoder.named_parameters()]
        return frozenset(f"model.{name}" for name in names)

    def moments(self, parameter: nn.Parameter) -> dict[str, Any]:
        """Return the optimizer state of ``parameter``, which a checkpoint may fill."""
        moments: dict[str, Any] = self._owners[parameter].state[parameter]
        return moments

    def modules(self) -> dict[str, nn.Module]:
        """Return the trained modules by their names in checkpoints."""
        modules: dict[str, nn.Module] = {"model": self.model}
        if self.auxiliary is not None:
            modules["auxiliary"] = self.auxiliary
        return modules

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield every trained parameter, in a fixed order, with its name in checkpoints."""
        for prefix, module in self.modules().items():
            for name, parameter in module.named_parameters():
                yield f"{prefix}.{name}", parameter


def make_state(model: Recognizer, settings: TrainingSettings) -> TrainingState:
    """Return a fresh state for ``model``: centers placed, auxiliary head added, optimizers made."""
    num_classes, head = len(model.spec.classes), model.head
    if settings.centers == "spread":
        head.place_centers(settings.seed)
    use_auxiliary = settings.auxiliary > 0 and num_classes <= AUXILIARY_UP_TO
    auxiliary = nn.Linear(model.num_features, num_classes).to(head.weight.device) if use_auxiliary else None
    optimizer, center_optimizer, muon = make_optimizers(model, auxiliary, settings)
    silent = {name for name, parameter in head.named_parameters() if parameter.requires_grad}
    if center_optimizer is not None:
        # A fused update may consume its gradient before it can be checked.
        silent.discard("weight")
    return TrainingState(model, auxiliary, optimizer, center_optimizer, muon, silent=silent)
