"""Train and measure one cell of a comparison (technique, dimension, seed) in its own folder."""

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

from steradian.errors import StorageError
from steradian.files import atomic_file, explained, read_json
from steradian.models.recognizer import Recognizer
from steradian.studies.evaluation.inputs import EmbeddingSet, Metrics, run_inputs
from steradian.studies.evaluation.protocols import COMPARED, measure
from steradian.training.adapted import frozen_features
from steradian.training.dataset import TrainingData
from steradian.training.plan import make_plan
from steradian.training.progress import step_counter
from steradian.training.recipe import Recipe
from steradian.training.run import TrainingResult, train
from steradian.training.run_folder import RunFolder


@dataclass(frozen=True)
class CellSpec:
    """Technique, dimension and seed of a cell; ``recipe`` contains these and all other options."""

    loss: str
    dims: int
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        return f"{self.loss}-{self.dims}d-seed{self.seed}"


@dataclass(frozen=True)
class CellResult:
    """Result of a finished cell.

    Attributes:
        options: the loss options that were used.
        numbers: nested metrics from `protocols.measure`, plus "cost".
        history: one row per epoch.
        raw: float32 [N, D] test embeddings, with int [N] ``labels`` and ``predictions``.
        centers: [C, D] class centers.
        right: name of an accuracy -> bool [N], which items it counts as correct.
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


def run_cell(spec: CellSpec, data: TrainingData, folder: Path, command: str, on_step: Callable[[int], None]) -> None:
    """Train and measure into ``folder``; its metrics are written last, so a cell that has them is finished.

    An unfinished cell resumes from its checkpoint.

    Args:
        on_step: called with the number of steps done since the last call.
    """
    started, run = time.perf_counter(), RunFolder(folder)
    plan = make_plan(spec.recipe, data)
    trained = train(plan, run, on_batch=step_counter(on_step))
    origin = plan.provenance(command)
    model = trained.save(run, origin)
    inputs = run_inputs(model, data, frozen_features(plan))
    metrics = measure(inputs, COMPARED)
    metrics.numbers["closed"].pop("per_class")
    seconds = time.perf_counter() - started
    _save_embeddings(run, inputs.images, model, metrics)
    _save_result(run, spec, trained, metrics, seconds, origin)
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _save_embeddings(run: RunFolder, test: EmbeddingSet, model: Recognizer, metrics: Metrics) -> None:
    centers = model.head.class_centers().cpu().numpy()
    arrays: dict[str, Any]
    arrays = {"raw": test.raw, "labels": test.labels, "predictions": test.predictions, "centers": centers}
    arrays |= {f"right.{key}": value for key, value in metrics.right.items()}
    with atomic_file(run.embeddings) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _save_result(
    run: RunFolder, spec: CellSpec, trained: TrainingResult, metrics: Metrics, seconds: float, origin: dict[str, Any]
) -> None:
    cost = {
        "seconds_per_epoch": trained.seconds_per_epoch,
        "seconds": seconds,
        "peak_memory_mib": trained.peak_memory / 2**20,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
    }
    run.finish(
        {
            "loss": spec.loss,
            "dims": spec.dims,
            "seed": spec.seed,
            "options": trained.model.spec.loss_options,
            "numbers": {**metrics.numbers, "cost": cost},
            "history": trained.history,
            "provenance": origin,
        }
    )


def is_finished(spec: CellSpec, folder: Path) -> bool:
    """Return whether ``folder`` holds the result of this very recipe."""
    run = RunFolder(folder)
    return run.is_finished and bool(read_json(run.metrics)["provenance"]["recipe"] == spec.recipe.digest())


def load_cell(spec: CellSpec, folder: Path) -> CellResult:
    """Read a finished cell. Raises `StorageError` when its files are damaged."""
    run = RunFolder(folder)
    content = read_json(run.metrics)
    with explained("read", run.embeddings):
        try:
            with np.load(run.embeddings, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file}
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise StorageError(f"{run.embeddings} is damaged ({error}). Remove {folder} to run it again.") from error
    return CellResult(
        spec=spec,
        options=content["options"],
        numbers=_nan_for_none(content["numbers"]),
        history=content["history"],
        **{name: arrays[name] for name in ("raw", "labels", "predictions", "centers")},
        right={name.removeprefix("right."): value for name, value in arrays.items() if name.startswith("right.")},
    )


def _nan_for_none(numbers: Any) -> Any:
    if isinstance(numbers, dict):
        return {key: _nan_for_none(value) for key, value in numbers.items()}
    return math.nan if numbers is None else numbers
