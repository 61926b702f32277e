"""One cell of a comparison: a technique, a dimension and a seed, trained and measured in a folder of its own."""

from __future__ import annotations

import math
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.pixels import with_known_first
from steradian.errors import StorageError
from steradian.files import atomic_file, explained, read_json, write_json
from steradian.models.heads import class_centers
from steradian.studies.measurement import Measured, embed_pixels
from steradian.studies.protocols import COMPARED, Material, measure
from steradian.training.checkpoint import FOLDER as CHECKPOINTS
from steradian.training.prepared import Prepared
from steradian.training.recipe import Recipe
from steradian.training.run import Trained, provenance, saved_model, train

RESULT = "metrics.json"
EMBEDDINGS = "embeddings.npz"
MODEL = "model"


@dataclass(frozen=True)
class CellSpec:
    """Which technique, in how many dimensions, from which seed; ``recipe`` holds all of it and the rest."""

    loss: str
    dims: int
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.loss}-{self.dims}d-seed{self.seed}"


@dataclass(frozen=True)
class CellResult:
    """What a finished cell left.

    Attributes:
        options: of the loss, as used.
        numbers: nested numbers of `protocols.measure`, with "cost".
        history: one row per epoch.
        raw: float32 [N, D] test embeddings; ``labels`` and ``predictions`` int [N] go with them.
        centers: [C, D].
        right: what each accuracy got right, [N].
    """

    spec: CellSpec
    options: dict[str, Any]
    numbers: dict[str, Any]
    history: list[dict[str, Any]]
    raw: NDArray[np.float32]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    centers: NDArray[np.float32]
    right: dict[str, NDArray[np.bool_]]


def run_cell(spec: CellSpec, prepared: Prepared, folder: Path, command: str, on_step: Callable[[int], None]) -> None:
    """Train and measure into ``folder``; `RESULT` is written last, so a cell that has it is finished.

    An unfinished folder goes on from its checkpoint.

    Args:
        on_step: called with the number of steps done since the last call.
    """
    started = time.perf_counter()
    done = 0

    def on_batch(step: int, total: int, note: str) -> None:
        nonlocal done
        on_step(step - done)
        done = step

    trained = train(spec.recipe, prepared, folder, on_batch=on_batch)
    splits, pixels = prepared.splits, prepared.pixels
    origin = provenance(prepared, spec.recipe, command)
    model = saved_model(trained.model, folder / MODEL, origin)
    model.accelerate_for(len(pixels))
    test = embed_pixels(model, pixels, splits.test)
    reference = embed_pixels(model, pixels, splits.train)
    classes, unknown = pixels.classes, None
    if prepared.unseen is not None:
        others = with_known_first(prepared.unseen, pixels.classes)
        classes, unknown = others.classes, embed_pixels(model, others)
    material = Material(classes, len(pixels.classes), test, unknown, reference)
    measured = measure(material, COMPARED)
    measured.numbers["closed"].pop("per_class")
    seconds = time.perf_counter() - started
    _save_embeddings(folder, test.raw, test.labels, test.predictions, trained, measured)
    _save_result(folder, spec, trained, measured, seconds, origin)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _save_embeddings(
    folder: Path,
    raw: NDArray[np.float32],
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    trained: Trained,
    measured: Measured,
) -> None:
    centers = class_centers(trained.model.head).cpu().numpy()
    arrays: dict[str, Any] = {"raw": raw, "labels": labels, "predictions": predictions, "centers": centers}
    arrays |= {f"right.{key}": value for key, value in measured.right.items()}
    with atomic_file(folder / EMBEDDINGS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _save_result(
    folder: Path, spec: CellSpec, trained: Trained, measured: Measured, seconds: float, origin: dict[str, Any]
) -> None:
    cost = {
        "seconds_per_epoch": trained.seconds_per_epoch,
        "seconds": seconds,
        "peak_memory_mib": trained.peak_memory / 2**20,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
    }
    write_json(
        folder / RESULT,
        {
            "loss": spec.loss,
            "dims": spec.dims,
            "seed": spec.seed,
            "options": trained.model.spec.loss_options,
            "numbers": {**measured.numbers, "cost": cost},
            "history": trained.history,
            "provenance": origin,
        },
    )


def is_finished(spec: CellSpec, folder: Path) -> bool:
    """Whether ``folder`` holds the result of this very recipe."""
    if not (folder / RESULT).is_file():
        return False
    return bool(read_json(folder / RESULT)["provenance"]["recipe"] == spec.recipe.digest())


def load_cell(spec: CellSpec, folder: Path) -> CellResult:
    """Read a finished cell. Raises `StorageError` when its files are damaged."""
    content = read_json(folder / RESULT)
    with explained("read", folder / EMBEDDINGS):
        try:
            with np.load(folder / EMBEDDINGS, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays}
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise StorageError(
                f"{folder / EMBEDDINGS} is damaged ({error}). Remove {folder} to run it again."
            ) from error
    return CellResult(
        spec=spec,
        options=content["options"],
        numbers=_nan_for_none(content["numbers"]),
        history=content["history"],
        raw=found["raw"],
        labels=found["labels"],
        predictions=found["predictions"],
        centers=found["centers"],
        right={name.removeprefix("right."): value for name, value in found.items() if name.startswith("right.")},
    )


def _nan_for_none(numbers: Any) -> Any:
    if isinstance(numbers, dict):
        return {key: _nan_for_none(value) for key, value in numbers.items()}
    return math.nan if numbers is None else numbers
