"""Named tensors in safetensors files, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steradian.errors import StorageError
from steradian.files import explained


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write ``tensors`` to ``path``. Raises `StorageError` when the disk is full or not writable."""
    with explained("write", path):
        try:
            save_file(dict(tensors), path, metadata=metadata)
        except SafetensorError as error:
            raise StorageError(
                f"Could not write {path} ({error}). If the disk is full, free some space, then run the same "
                "command again."
            ) from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read names and shapes from the header alone. Raises `StorageError` when the file is damaged."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load all tensors of a file onto the CPU. Raises `StorageError` when the file is damaged."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with explained("read", path):
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except SafetensorError as error:
            raise StorageError(
                f"{path} is not a readable safetensors file ({error}); it may be damaged. Copy or download it again."
            ) from error
