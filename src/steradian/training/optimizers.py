"""Make the optimizers: which one updates which parameter, at which rate, with which weight decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from steradian.models.encoders import layers_of
from steradian.models.recognizer import Recognizer
from steradian.training.muon import RATE, Muon
from steradian.training.recipe import TrainingSettings
from steradian.training.sharded_encoder import is_sharded


def make_optimizers(
    model: Recognizer, auxiliary: nn.Linear | None, settings: TrainingSettings
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer | None, Muon | None]:
    """Return the optimizer of most parameters, that of the class centers and that of filters and matrices.

    The second is None unless centers are passed in tiles, sampled or divided, the third unless settings ask for Muon.
    """
    # Neither centers nor vectors are matrices to be made orthogonal.
    kind = "adamw" if settings.optimizer == "muon" else settings.optimizer
    centers = model.head.center_optimizer(
        settings.batch_size,
        kind,
        lr=settings.learning_rate * settings.center_rate,
        momentum=settings.momentum,
        half_precision=settings.bf16,
    )
    groups = _groups(model, auxiliary, settings, centers)
    rate = settings.learning_rate
    muon = None
    if settings.optimizer == "muon":
        filters = _filters([*model.encoder.parameters(), *model.neck.parameters()], groups)
        muon = Muon(filters, rate) if filters else None
        groups = [group for group in groups if group["params"]]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum), centers, muon
    return (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(groups, lr=rate), centers, muon


def _filters(parameters: list[nn.Parameter], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move filters and matrices among ``parameters`` from ``groups`` to groups of their own; return these."""
    # Tensors of three dimensions are positions and tokens of transformers.
    ours = {parameter for parameter in parameters if parameter.ndim in (2, 4)}
    moved = []
    for group in groups:
        filters = [parameter for parameter in group["params"] if parameter in ours]
        group["params"] = [parameter for parameter in group["params"] if parameter not in ours]
        if filters:
            moved.append({**group, "params": filters, "factor": group["factor"] * RATE})
    return moved


def _groups(
    model: Recognizer,
    auxiliary: nn.Linear | None,
    settings: TrainingSettings,
    center_optimizer: torch.optim.Optimizer | None,
) -> list[dict[str, Any]]:
    """Return groups of parameters: weight decay for matrices of encoder and neck, own rates for the head and layers."""
    above = [*model.neck.parameters(), *(auxiliary.parameters() if auxiliary is not None else [])]
    layers = layers_of(model.encoder)
    top = max(layers.values()) + 1
    bodies = {(1.0, False): above}
    # torch updates the tensors of a group together, and they have to be of one kind.
    kind = is_sharded(model.encoder)
    for name, parameter in model.encoder.named_parameters():
        bodies.setdefault((settings.layer_decay ** (top - layers[name]), kind), []).append(parameter)
    auxiliary_ids = {id(parameter) for parameter in (auxiliary.parameters() if auxiliary is not None else [])}
    head = [p for p in model.head.parameters() if center_optimizer is None or p is not model.head.weight]
    groups: list[dict[str, Any]] = []
    for (factor, _), body in bodies.items():
        decayed = [p for p in body if p.ndim >= 2 and id(p) not in auxiliary_ids]
        undecayed = [p for p in body if p.ndim < 2 or id(p) in auxiliary_ids]
        groups.append({"params": decayed, "weight_decay": settings.weight_decay, "factor": factor})
        groups.append({"params": undecayed, "weight_decay": 0.0, "factor": factor})
    groups.append({"params": head, "weight_decay": 0.0, "factor": settings.center_rate})
    return [group for group in groups if group["params"]]
