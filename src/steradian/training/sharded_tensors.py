"""Store the tensors of all processes as safetensors files that any number of processes can read.

torch.distributed.checkpoint writes one file per process, with the position of each part in the full tensor. Its reader
neither notices a missing part nor knows the full shape, so every name, shape and dtype is first compared with a
manifest. Nothing is pickled.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor, distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from steradian.errors import StorageError
from steradian.losses.process_group import is_distributed

DAMAGE = (CheckpointException, SafetensorError, AssertionError, OSError, ValueError, KeyError, TypeError)
"""The exceptions of the storage for damaged files."""

START_OVER = "Remove the folder to start over."


class TensorEntry(BaseModel):
    """The logical shape and the dtype of a tensor."""

    model_config = ConfigDict(extra="forbid")

    shape: list[int]
    dtype: str


def entry(tensor: Tensor) -> TensorEntry:
    """Return the manifest entry of ``tensor``, which may be a part of a sharded one."""
    return TensorEntry(shape=list(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def divided(part: Tensor, rows: int) -> Tensor:
    """This process's ``part`` of a tensor with ``rows`` rows in all, divided as the head shards its classes."""
    mesh = init_device_mesh(part.device.type, (distributed.get_world_size(),))
    shape = torch.Size([rows, *part.shape[1:]])
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(part.contiguous(), mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` into ``folder``; every process of a group calls this, with its own parts."""
    with _explained(f"Could not write the checkpoint {folder}"):
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save(contiguous, storage_writer=writer, no_dist=not is_distributed())


def read_tensors(
    folder: Path, targets: Mapping[str, Tensor], manifest: Mapping[str, TensorEntry], *, together: bool
) -> None:
    """Fill ``targets``, a subset of the manifest, in place; ``together`` with the other processes, if any."""
    with _explained(f"Could not read the checkpoint {folder}. {START_OVER}"):
        reader = HuggingFaceStorageReader(str(folder))
        _check(folder, reader.read_metadata().state_dict_metadata, manifest)
        for name, target in targets.items():
            if name not in manifest:
                raise StorageError(f"{folder} has no tensor {name!r}: it belongs to another architecture. {START_OVER}")
            target_entry, stored = entry(target), manifest[name]
            if target_entry != stored:
                raise StorageError(
                    f"{folder} holds weights of another architecture: {name} is {stored.dtype} {stored.shape} "
                    f"stored, {target_entry.dtype} {target_entry.shape} in the model. {START_OVER}"
                )
        load(dict(targets), storage_reader=reader, no_dist=not (together and is_distributed()))


def _check(folder: Path, stored: Mapping[str, Any], manifest: Mapping[str, TensorEntry]) -> None:
    """Raise unless the parts cover every tensor of the manifest once and without a gap."""
    for name, expected in manifest.items():
        metadata = stored.get(name)
        parts = [] if metadata is None else [(tuple(c.offsets), tuple(c.sizes)) for c in metadata.chunks]
        filled = sorted((offsets, sizes) for offsets, sizes in parts if not sizes or sizes[0])
        next_row = 0
        for offsets, sizes in filled:
            if sizes and (offsets[0] != next_row or any(offsets[1:]) or list(sizes[1:]) != expected.shape[1:]):
                break
            next_row += sizes[0] if sizes else 1
        if metadata is None or next_row != (expected.shape[0] if expected.shape else 1):
            raise StorageError(
                f"{folder} is not complete: {name} needs the shape {expected.shape}, but has {next_row} rows in order. "
                f"A file is missing or damaged; copy all of them. {START_OVER}"
            )
        if str(metadata.properties.dtype).removeprefix("torch.") != expected.dtype:
            raise StorageError(f"{folder}: {name} is {metadata.properties.dtype}, not {expected.dtype}. {START_OVER}")


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn storage errors into `StorageError`; silence the warning about a missing process group."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        try:
            yield
        except DAMAGE as error:
            failures = getattr(error, "failures", None)
            cause = next(iter(failures.values()))[0] if failures else error
            raise StorageError(
                f"{what} ({str(cause).splitlines()[0] if str(cause) else type(cause).__name__})."
            ) from error
