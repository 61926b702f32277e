"""Training state on disk: tensors as safetensors, the rest as JSON, whole or absent.

Schema version 1, one logical checkpoint whatever the number of processes:

* ``checkpoints/step-<step>-<epoch>/tensors.safetensors``: ``model.<name>`` (encoder, neck and head; class weights
  as one [C, D] tensor), ``auxiliary.<name>``, ``optimizer.<parameter name>.<state name>``, ``best.<name>``,
  ``rng.<device>``;
* ``checkpoints/step-<step>-<epoch>/state.json``: position (epoch, step, step in the epoch: with the seed these fix
  sampler and views), schedule, history, and the digests of recipe and data that they belong to.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from steradian.errors import StorageError
from steradian.files import atomic_folder, read_json, write_json
from steradian.models.tensors import load_tensors, save_tensors
from steradian.training.schedules import Watch
from steradian.training.state import TrainingState

FOLDER = "checkpoints"
TENSORS = "tensors.safetensors"
STATE = "state.json"


class _WatchRecord(BaseModel):
    model_config = ConfigDict(extra="forbid")

    best: float | None
    waited: int
    since_cut: int
    cuts: int


class CheckpointRecord(BaseModel):
    """The content of ``state.json``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["steradian.checkpoint"] = "steradian.checkpoint"
    version: Literal[1] = 1
    recipe: str
    data: str
    epoch: int
    step: int
    step_in_epoch: int
    loss_sum: float
    watch: _WatchRecord
    silent: list[str]
    history: list[dict[str, Any]]
    seconds: list[float]


def save_checkpoint(run: Path, state: TrainingState, *, recipe: str, data: str) -> Path:
    """Write the state under ``run``, then drop older checkpoints.

    Args:
        recipe, data: digests that a resumed run must match.
    """
    folder = run / FOLDER / f"step-{state.step:09d}-{state.epoch:06d}"
    if folder.is_dir():
        return folder
    record = CheckpointRecord(
        recipe=recipe,
        data=data,
        epoch=state.epoch,
        step=state.step,
        step_in_epoch=state.step_in_epoch,
        loss_sum=state.loss_sum,
        watch=_WatchRecord(**asdict(state.watch)),
        silent=sorted(state.silent),
        history=state.history,
        seconds=state.seconds,
    )
    with atomic_folder(folder) as temporary:
        save_tensors(temporary / TENSORS, _tensors(state))
        write_json(temporary / STATE, record.model_dump())
    for older in (run / FOLDER).iterdir():
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)
    return folder


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["rng.cuda"] = torch.cuda.get_rng_state()
    for prefix, module in state.modules().items():
        found |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    for name, parameter in state.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            found[f"optimizer.{name}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    for name, tensor in (state.best or {}).items():
        found[f"best.{name}"] = tensor
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def latest_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint of a run folder, or None."""
    found = sorted((run / FOLDER).glob("step-*")) if (run / FOLDER).is_dir() else []
    return found[-1] if found else None


def read_record(folder: Path) -> CheckpointRecord:
    """The record of a checkpoint. Raises `StorageError` when it is damaged or of another version."""
    try:
        return CheckpointRecord.model_validate(read_json(folder / STATE))
    except ValidationError as error:
        first = error.errors()[0]
        raise StorageError(
            f"{folder / STATE} is no checkpoint of this version: {'.'.join(map(str, first['loc']))}: {first['msg']}. "
            "Remove the folder to start over."
        ) from error


def restore(state: TrainingState, folder: Path) -> None:
    """Put a freshly made ``state`` where the checkpoint in ``folder`` stood.

    Raises:
        StorageError: damaged files, or tensors of another architecture.
    """
    record = read_record(folder)
    try:
        tensors = load_tensors(folder / TENSORS)
    except StorageError as error:
        raise StorageError(f"{error} Remove {folder} to start over.") from error
    try:
        for prefix, module in state.modules().items():
            module.load_state_dict(_under(tensors, prefix))
    except RuntimeError as error:
        raise StorageError(f"{folder} holds weights of another architecture: {error}") from error
    for name, parameter in state.named_parameters():
        for key, value in _under(tensors, f"optimizer.{name}").items():
            # Adam keeps its step count on the CPU, whatever the parameter is on.
            state.optimizer.state[parameter][key] = value if key == "step" else value.to(parameter.device)
    state.best = _under(tensors, "best") or None
    torch.set_rng_state(tensors["rng.torch"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    best = record.watch.best if record.watch.best is not None else float("inf")
    state.watch = Watch(best, record.watch.waited, record.watch.since_cut, record.watch.cuts)
    state.epoch, state.step, state.step_in_epoch = record.epoch, record.step, record.step_in_epoch
    state.loss_sum, state.history, state.silent = record.loss_sum, record.history, set(record.silent)
    state.seconds = record.seconds


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
