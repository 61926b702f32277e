"""Many networks trained into folders of their own, those that are there already left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from steradian.data.pixels import available_cores
from steradian.files import read_json
from steradian.models.encoders import layers_of
from steradian.models.recognizer import Recognizer
from steradian.studies.measurement import embed_pixels
from steradian.studies.workers import Spec, Work, run_here, run_in_workers
from steradian.training.assembly import start
from steradian.training.prepared import Prepared
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe
from steradian.training.run import provenance, saved_model, train

RESULT, MODEL = "result.json", "model"
MEASURED = ("validation", "accuracy", "cpu_seconds")


class NetworkSpec(Spec, Protocol):
    """A network to train, and the one whose layers it takes, by name."""

    @property
    def source(self) -> str | None: ...


def train_networks(
    specs: Iterable[NetworkSpec], work: Work, steps: int, words: str, jobs: int | None, *, quiet: bool
) -> dict[str, str]:
    """Train those whose folder has no `RESULT` yet; name -> message of those that failed.

    Args:
        steps: about how many a network takes.
        jobs: networks at once, or None: one per core.
    """
    todo = [spec for spec in specs if not (work.folder / spec.name / RESULT).is_file()]
    ready = [spec for spec in todo if spec.source is None or (work.folder / spec.source / RESULT).is_file()]
    failures = {spec.name: "its base failed" for spec in todo if spec not in ready}
    if not ready:
        return failures
    count = min(len(ready), jobs if jobs is not None else available_cores())
    with Progress(steps * len(ready), words, quiet=quiet) as progress:
        run = run_here(ready, work, progress) if count == 1 else run_in_workers(ready, work, count, progress)
    return failures | run


def train_network(
    recipe: Recipe, data: Prepared, folder: Path, command: str, on_step: Callable[[int], None]
) -> Recognizer:
    """Train in ``folder``, from where it stood, and keep the model in it; ``on_step`` hears of steps since the last."""
    done = 0

    def on_batch(step: int, total: int, note: str) -> None:
        nonlocal done
        on_step(step - done)
        done = step

    trained = train(recipe, data, folder, on_batch=on_batch)
    return saved_model(trained.model, folder / MODEL, provenance(data, recipe, command))


def encoder_depth(recipe: Recipe, prepared: Prepared) -> int:
    """How many layers the encoder of ``recipe`` has."""
    return max(layers_of(start(recipe, prepared).model.encoder).values()) + 1


def accuracies(model: Recognizer, data: Prepared) -> dict[str, Any]:
    """ "validation" and "accuracy" (of the test part), None for a part without images, and "test_images"."""
    found: dict[str, Any] = {"test_images": len(data.splits.test)}
    for name, part in (("validation", data.splits.validation), ("accuracy", data.splits.test)):
        right = embed_pixels(model, data.pixels, part).right
        found[name] = float(right.mean()) if len(right) else None
    return found


def results(specs: Iterable[NetworkSpec], cells: Path) -> list[dict[str, Any]]:
    """What finished networks came to, with NaN for what was not measured."""
    paths = [cells / spec.name / RESULT for spec in specs]
    rows = [read_json(path) for path in paths if path.is_file()]
    return [row | {key: np.nan for key in MEASURED if row.get(key, 0) is None} for row in rows]
