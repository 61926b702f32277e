"""Find how many layers of a pretrained encoder to freeze for a data set.

For each n, on the user's own data, with paired seeds:

=======  ====================================================================
kept     all layers from the pretrained encoder; the first n frozen, the others tuned (``train --freeze n``)
moved    only the first n from it, frozen; the others new (AnB of system C)
tuned    only the first n from it, the others new; all are trained (AnB+)
scratch  nothing from it
=======  ====================================================================

The recommended n is chosen on validation images; its accuracy is measured on test images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from steradian.errors import DataError, UsageError
from steradian.files import write_json
from steradian.studies.study import Failures, Phase, Study, Summary, Workforce, run_study
from steradian.studies.transferability.freezing_report import build_report, numbers_of
from steradian.studies.transferability.freezing_result import FreezeArm, FreezeCell, FreezeSpec, FreezingResult
from steradian.studies.transferability.networks import (
    RESULT,
    accuracies,
    encoder_depth,
    is_finished,
    read_results,
    train_network,
)
from steradian.training.checkpoint import latest_checkpoint
from steradian.training.dataset import Dataset, TrainingData
from steradian.training.plan import make_plan, training_steps
from steradian.training.preflight import preflight
from steradian.training.progress import progress_unless
from steradian.training.recipe import Recipe
from steradian.training.run_folder import RunFolder

CELLS = "cells"


def run_network(
    spec: FreezeSpec, data: TrainingData, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Train and measure one network into ``folder``; its result is written last. An unfinished one goes on."""
    resumed, began = latest_checkpoint(RunFolder(folder)) is not None, time.process_time()
    model = train_network(spec.trained_by(), data, folder, command, on_step)
    # The time before an interruption is not known any more.
    spent = None if resumed else time.process_time() - began
    content = {"seed": spec.seed, "arm": spec.arm, "layers": spec.layers, "cpu_seconds": spent}
    write_json(folder / RESULT, content | accuracies(model, data))


@dataclass(frozen=True)
class FreezingStudy(Study[FreezingResult]):
    """Which layers to freeze, as a study of independent networks."""

    recipe: Recipe
    depth: int
    layers: tuple[int, ...]
    seeds: int
    name: ClassVar[str] = "freezing"
    kind: ClassVar[str] = "freezing study"

    def specs(self) -> list[FreezeSpec]:
        """Return every network. With none or all of the layers taken, "moved" and "tuned" equal other arms."""
        between = tuple(n for n in self.layers if 0 < n < self.depth)
        numbers: dict[FreezeArm, tuple[int, ...]]
        numbers = {"scratch": (0,), "kept": self.layers, "moved": between, "tuned": between}
        return [
            FreezeSpec(seed, arm, n, self.recipe)
            for seed in range(self.seeds)
            for arm, layers in numbers.items()
            for n in layers
        ]

    def identity(self) -> dict[str, Any]:
        return {"recipe": self.recipe.model_dump(mode="json")}

    def phases(self, data: TrainingData, out: Path) -> Generator[Phase, Failures, None]:
        steps = training_steps(self.recipe, data)
        yield Phase("networks", self.specs(), run_network, CELLS, steps, is_finished, one_thread_each=True)

    def finish(
        self, data: TrainingData, out: Path, failures: Failures, origin: dict[str, Any]
    ) -> tuple[FreezingResult, Summary]:
        cells = tuple(FreezeCell(**row) for row in read_results(self.specs(), out / CELLS))
        result = FreezingResult(self.recipe, self.depth, self.layers, self.seeds, cells, failures, origin)
        return result, Summary([vars(cell) for cell in cells], build_report(result).html(), numbers_of(result))


def study_freezing(
    source: str | Recipe,
    *,
    weights: str = "package",
    layers: Sequence[int] | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    jobs: int | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
) -> FreezingResult:
    """Find out which layers of a pretrained encoder to keep as they are for these images.

    Args:
        source: images, trained on ``weights``; or the recipe of every network, which names its own.
        weights: the pretrained encoder, see `Recipe.weights`.
        layers: values of n from 0 to the depth of the encoder; None: all.
        seeds: runs of each network.
        out: a new folder, or one with an earlier run of the same study; None: ``runs/freezing-NAME``.
        jobs: networks at once; None: one per core.
        exist_ok: write into a folder that holds other things.
        quiet: show no progress.

    Raises:
        UsageError: no pretrained weights, a layer that does not exist, or ``out`` holds another study.
        DataError: the validation part or the test part is empty.
    """
    recipe = source
    if not isinstance(recipe, Recipe):
        recipe = Recipe().changed(**{"data.source": recipe, "weights": weights})
    if recipe.weights is None:
        raise UsageError("A freezing study needs a pretrained encoder: name its --weights.")
    dataset = Dataset.open(recipe)
    recipe, data = dataset.recipe, dataset.decode(progress_unless(quiet))
    if min(len(data.splits.validation), len(data.splits.test)) == 0:
        raise DataError("The validation or test part is empty. Set data.validation and data.test above 0.")
    plan = make_plan(recipe, data)
    preflight(plan)
    depth = encoder_depth(plan)
    chosen = tuple(layers) if layers is not None else tuple(range(depth + 1))
    if outside := sorted(set(chosen) - set(range(depth + 1))):
        raise UsageError(f"{recipe.encoder} has {depth} layers, so 0 to {depth} can be kept, not {outside[0]}.")
    study = FreezingStudy(recipe, depth, chosen, seeds)
    return run_study(study, recipe, data, out, Workforce(jobs, quiet), exist_ok=exist_ok)
