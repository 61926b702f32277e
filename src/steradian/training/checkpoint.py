"""Save the training state atomically: tensors as safetensors, everything else as JSON.

Schema version 2, one logical checkpoint whatever the number of processes that write or read it:

* ``checkpoints/step-<step>-<epoch>/*.safetensors``, one file per process: ``model.<name>`` (encoder, neck and head;
  class weights are one [C, D] tensor, [C, K * D] with sub-centers), ``auxiliary.<name>``,
  ``optimizer.<parameter name>.<state name>``, ``best.<name>``, ``mean.<name>``, ``rng.<device>``;
* ``checkpoints/step-<step>-<epoch>/state.json``, written last: name, shape and dtype of every tensor, position (epoch,
  step, step in the epoch: with the seed these fix sampler and views), schedule, history, and the digests of recipe and
  data that they belong to.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.distributed.tensor import DTensor

from steradian.errors import StorageError
from steradian.files import atomic_folder, read_json, write_json
from steradian.models.recognizer import Recognizer
from steradian.training import distributed
from steradian.training.run_folder import RunFolder
from steradian.training.schedules import PlateauTracker
from steradian.training.sharded_tensors import TensorEntry, divided, entry, read_tensors, write_tensors
from steradian.training.state import TrainingState

STATE = "state.json"

KEPT = ("mean", "best")
"""Kinds of `TrainingState.kept`; training ends with the first that there is."""


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
    version: Literal[2] = 2
    tensors: dict[str, TensorEntry]
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
    speeds: list[dict[str, float]] = []


def save_checkpoint(run: RunFolder, state: TrainingState, *, recipe: str, data: str) -> Path:
    """Write the state under ``run`` with the digests of recipe and data, then delete older checkpoints."""
    folder = run.checkpoints / f"step-{state.step:09d}-{state.epoch:06d}"
    if folder.is_dir():
        return folder
    distributed.average_buffers(state.model.encoder, state.model.neck)
    tensors = _tensors(state)
    record = CheckpointRecord(
        tensors={name: entry(tensor) for name, tensor in tensors.items()},
        recipe=recipe,
        data=data,
        epoch=state.epoch,
        step=state.step,
        step_in_epoch=state.step_in_epoch,
        loss_sum=state.loss_sum,
        watch=_WatchRecord(**asdict(state.plateau)),
        silent=sorted(state.silent),
        history=state.history,
        seconds=state.seconds,
        speeds=state.speeds,
    )
    with _shared_folder(folder) as temporary:
        write_tensors(temporary, tensors)
        if distributed.is_rank_zero():
            write_json(temporary / STATE, record.model_dump())
    if distributed.is_rank_zero():
        for older in run.checkpoints.iterdir():
            if older != folder:
                shutil.rmtree(older, ignore_errors=True)
    distributed.barrier()
    return folder


@contextlib.contextmanager
def _shared_folder(folder: Path) -> Iterator[Path]:
    """Share an `atomic_folder`: rank 0 creates it and moves it into place when all processes have written."""
    if distributed.is_rank_zero():
        with atomic_folder(folder) as temporary:
            yield Path(distributed.broadcast_text(str(temporary)))
            distributed.barrier()
    else:
        yield Path(distributed.broadcast_text(""))
        distributed.barrier()


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Return what this process writes: its rows of sharded tensors; rank 0 also writes all replicated tensors."""
    tensors: dict[str, Tensor] = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for prefix, module in state.modules().items():
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    for name, parameter in state.named_parameters():
        for key, value in state.moments(parameter).items():
            tensors[f"optimizer.{name}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    for kind, weights in state.kept.items():
        tensors |= {f"{kind}.{name}": tensor for name, tensor in weights.items()}
    logical = {name: _logical(state, name, tensor.detach()) for name, tensor in tensors.items()}
    return {
        name: tensor
        for name, tensor in logical.items()
        if distributed.is_rank_zero() or _is_divided(state, name, tensors[name])
    }


def _is_divided(state: TrainingState, name: str, tensor: Tensor) -> bool:
    return tensor.ndim > 0 and _parameter_of(name) in state.sharded


def _parameter_of(name: str) -> str:
    """Return the parameter or buffer, ``model.<name>`` or ``auxiliary.<name>``, that a stored tensor belongs to."""
    kind, _, suffix = name.partition(".")
    if kind == "optimizer":
        return suffix.rpartition(".")[0]
    return f"model.{suffix}" if kind in KEPT else name


def _logical(state: TrainingState, name: str, tensor: Tensor) -> Tensor:
    """Return a view of ``tensor`` in the checkpoint's layout: one row per class, and sharded if the classes are.

    A tensor of a divided encoder is in it already.
    """
    subcenters = state.model.head.subcenters
    if subcenters > 1 and _parameter_of(name) == "model.head.weight" and tensor.ndim == 2:
        tensor = tensor.view(-1, subcenters * tensor.shape[1])
    if _is_divided(state, name, tensor) and not isinstance(tensor, DTensor):
        return divided(tensor, len(state.model.spec.classes))
    return tensor


def latest_checkpoint(run: RunFolder) -> Path | None:
    """Return the newest complete checkpoint of a run folder, or None."""
    checkpoints = sorted(run.checkpoints.glob("step-*")) if run.checkpoints.is_dir() else []
    return checkpoints[-1] if checkpoints else None


def read_record(folder: Path) -> CheckpointRecord:
    """Read the record of a checkpoint. Raises `StorageError` when it is damaged or of another version."""
    try:
        return CheckpointRecord.model_validate(read_json(folder / STATE))
    except ValidationError as error:
        first = error.errors()[0]
        raise StorageError(
            f"{folder / STATE} is no checkpoint of this version: {'.'.join(map(str, first['loc']))}: {first['msg']}. "
            "Remove the folder to start over."
        ) from error


def restore(state: TrainingState, folder: Path) -> None:
    """Restore a newly made ``state`` from a checkpoint. Raises `StorageError` if it is damaged or does not fit."""
    record = read_record(folder)
    tensors: dict[str, Tensor] = {}
    for prefix, module in state.modules().items():
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    # An optimizer has no state before its first step, and best weights exist only after an epoch.
    parameters = dict(state.named_parameters())
    kept: dict[str, dict[str, Tensor]] = {kind: {} for kind in KEPT}
    for name, saved in record.tensors.items():
        if name.startswith("optimizer."):
            parameter, _, key = name.removeprefix("optimizer.").rpartition(".")
            if parameter in parameters:
                moment = _moment(parameters[parameter], saved)
                tensors[name] = state.moments(parameters[parameter])[key] = moment
        kind, _, suffix = name.partition(".")
        if kind in KEPT:
            tensors[name] = kept[kind][suffix] = torch.empty_like(tensors[f"model.{suffix}"])
    state.best, state.mean = kept["best"] or None, kept["mean"] or None
    tensors["rng.torch"] = torch.get_rng_state()
    if torch.cuda.is_available() and "rng.cuda" in record.tensors:
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    targets = {name: _logical(state, name, tensor.detach()) for name, tensor in tensors.items()}
    read_tensors(folder, targets, record.tensors, together=True)
    torch.set_rng_state(tensors["rng.torch"])
    if "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    best = record.watch.best if record.watch.best is not None else float("inf")
    state.plateau = PlateauTracker(best, record.watch.waited, record.watch.since_cut, record.watch.cuts)
    state.epoch, state.step, state.step_in_epoch = record.epoch, record.step, record.step_in_epoch
    state.loss_sum, state.history, state.silent = record.loss_sum, record.history, set(record.silent)
    # Checkpoints of earlier versions do not say how fast their epochs were.
    state.seconds, state.speeds = record.seconds, record.speeds or [{} for _ in record.history]


def _moment(parameter: Tensor, saved: TensorEntry) -> Tensor:
    """Allocate a moment of ``parameter``; step counts stay on the CPU."""
    return torch.zeros_like(parameter) if saved.shape else torch.zeros((), dtype=getattr(torch, saved.dtype))


def read_model(folder: Path, model: Recognizer) -> None:
    """Load a checkpoint of any number of processes into ``model`` of one process: its mean or best weights, if kept."""
    state = TrainingState(model, None, torch.optim.SGD(model.parameters(), lr=1.0))
    manifest = read_record(folder).tensors
    kinds = {name.partition(".")[0] for name in manifest}
    prefix = next((kind for kind in KEPT if kind in kinds), "model")
    tensors = {f"{prefix}.{name}": tensor for name, tensor in model.state_dict().items()}
    targets = {name: _logical(state, name, tensor.detach()) for name, tensor in tensors.items()}
    read_tensors(folder, targets, manifest, together=False)
