"""Store one trained model as two files: ``model.safetensors`` (tensors) and ``model.json`` (its manifest).

This file reads and writes ``(manifest, tensors)``. Nothing is unpickled, and shapes are checked before memory is taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from steradian.errors import StorageError
from steradian.files import atomic_folder, read_json, sha256_of
from steradian.models.locations import MANIFEST
from steradian.models.manifest import FORMAT, ModelManifest, ModelSpec
from steradian.models.readme import readme_text
from steradian.models.tensors import load_tensors, save_tensors, tensor_shapes
from steradian.version import __version__

TENSORS = "model.safetensors"
README, LARGEST_README = "README.md", 2**20
LATER_FIELDS = {
    "neck": "auto", "stages": 0, "grid": 0, "pooling": "average", "mirrored": False, "crop": 1.0,
    "interpolation": "bilinear", "finder": "whole", "zooms": [],
}  # fmt: skip
"""Fields that came after version 1 began: hashed only where they are used, so that older models keep their ids."""


def content_id(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of what decides the model's answers: its spec and every tensor (on the CPU, contiguous)."""
    described = spec.described()
    for part in (described, described["preprocessing"]):
        for name in [name for name, value in LATER_FIELDS.items() if part.get(name) == value]:
            del part[name]
    chunks = [json.dumps(described, sort_keys=True, ensure_ascii=False).encode()]
    for name in sorted(tensors):
        tensor = tensors[name]
        chunks += [
            f"{name} {tensor.dtype} {list(tensor.shape)}".encode(),
            tensor.reshape(-1).view(torch.uint8).numpy().tobytes(),
        ]
    return sha256_of(*chunks)


def write(folder: Path, manifest: ModelManifest, tensors: Mapping[str, Tensor], readme: str | None = None) -> None:
    """Write ``folder``, whole or not at all; without a ``readme``, one is made from the manifest."""
    with atomic_folder(folder) as temporary:
        save_tensors(temporary / TENSORS, tensors, metadata={"format": FORMAT})
        (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (temporary / README).write_text(readme or readme_text(manifest), encoding="utf-8")


def read_manifest(folder: Path) -> ModelManifest:
    """Return the manifest in ``folder``. Raises `StorageError` for one that is damaged or of another version."""
    content = read_json(folder / MANIFEST)
    try:
        return ModelManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise StorageError(
            f"{folder / MANIFEST} is not a model of this version of steradian ({__version__}): {field}: {first['msg']}."
        ) from error


@dataclass(frozen=True)
class Artifact:
    """A model folder that was opened: its manifest and readme are read, its tensors are not yet."""

    folder: Path
    manifest: ModelManifest
    readme: str | None

    @classmethod
    def open(cls, folder: Path) -> Artifact:
        """Open a model folder. Raises `StorageError` for a manifest that is missing or damaged."""
        path = folder / README
        small = path.is_file() and path.stat().st_size <= LARGEST_README
        readme = path.read_text(encoding="utf-8", errors="replace") if small else None
        return cls(folder, read_manifest(folder), readme)

    def check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Compare the header of the tensor file with the ``expected`` shapes. Raises `StorageError` if they differ."""
        shapes = tensor_shapes(self.folder / TENSORS)
        for name in sorted(expected.keys() | shapes.keys()):
            if expected.get(name) != shapes.get(name):
                raise StorageError(
                    f"{self.folder / TENSORS}: tensor {name!r} has shape {shapes.get(name, 'none')}, but {MANIFEST} "
                    f"expects {expected.get(name, 'none')}. The two files do not belong together."
                )

    def tensors(self) -> dict[str, Tensor]:
        """Read all tensors. Raises `StorageError` if the file is damaged."""
        return load_tensors(self.folder / TENSORS)

    def check_id(self, tensors: Mapping[str, Tensor]) -> None:
        """Compare manifest and ``tensors`` with the id. Raises `StorageError` if they do not match."""
        if content_id(self.manifest, tensors) != self.manifest.id:
            raise StorageError(
                f"{self.folder}: the content does not match its id: files were changed or mixed up. Copy them again."
            )
