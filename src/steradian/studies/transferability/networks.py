"""One network of a study of layers: trained in a folder of its own, measured on validation and test images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from steradian.files import read_json
from steradian.models.encoders import layers_of
from steradian.models.recognizer import Recognizer
from steradian.studies.evaluation.inputs import embed_pixels
from steradian.studies.workers import Job
from steradian.training.dataset import TrainingData
from steradian.training.plan import TrainingPlan, make_plan
from steradian.training.progress import step_counter
from steradian.training.recipe import Recipe
from steradian.training.run import train
from steradian.training.run_folder import RunFolder

RESULT = "result.json"
MEASURED = ("validation", "accuracy", "cpu_seconds")


def is_finished(job: Any, folder: Path) -> bool:
    """Return whether ``folder`` holds a network that was trained and measured."""
    return (folder / RESULT).is_file()


def train_network(
    recipe: Recipe, data: TrainingData, folder: Path, command: str, on_step: Callable[[int], None]
) -> Recognizer:
    """Train in ``folder``, from where it stood, and keep the model in it; ``on_step`` counts the steps."""
    plan, run = make_plan(recipe, data), RunFolder(folder)
    trained = train(plan, run, on_batch=step_counter(on_step))
    return trained.save(run, plan.provenance(command))


def encoder_depth(plan: TrainingPlan) -> int:
    """Return how many layers the encoder has."""
    return max(layers_of(plan.model.encoder).values()) + 1


def accuracies(model: Recognizer, data: TrainingData) -> dict[str, Any]:
    """Return "validation" and "accuracy" (of the test part), None for a part without images, and "test_images"."""
    numbers: dict[str, Any] = {"test_images": len(data.splits.test)}
    for name, part in (("validation", data.splits.validation), ("accuracy", data.splits.test)):
        right = embed_pixels(model, data.pixels, part).right
        numbers[name] = float(right.mean()) if len(right) else None
    return numbers


def read_results(jobs: Iterable[Job], folder: Path) -> list[dict[str, Any]]:
    """Return the results of finished networks, with NaN for what was not measured."""
    paths = [folder / job.name / RESULT for job in jobs]
    rows = [read_json(path) for path in paths if path.is_file()]
    return [row | {key: np.nan for key in MEASURED if row.get(key, 0) is None} for row in rows]
