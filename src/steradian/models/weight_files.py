"""Read published weights from a file, without running anything in it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from steradian.errors import StorageError
from steradian.files import explained


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name. A pickle is read by torch's weights-only loader, which executes no code."""
    with explained("read", path):
        try:
            if path.suffix == ".safetensors":
                return dict(load_file(path))
            with warnings.catch_warnings():
                # torch warns about an unknown pickle protocol before it refuses the file.
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise StorageError(
                f"{path} holds more than tensors, so it was not loaded: it could run harmful code. Ask for the "
                "weights as .safetensors."
            ) from error
        except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise StorageError(
                f"{path} is damaged or not a weights file ({first}). Copy or download it again."
            ) from error
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise StorageError(f"{path} holds no state_dict (tensors by name). Save the state_dict() of the model.")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}
