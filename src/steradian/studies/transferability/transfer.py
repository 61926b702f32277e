"""Measure how general each layer is: move the first n layers of a network to the other half of the classes.

The design of "How transferable are features in deep neural networks?" (Yosinski et al. 2014; system C), plus what its
published comparison lacks: a base trained twice as long beside the fine-tuned arms, random frozen layers on the same
halves, differences paired by target half and seed, and nothing chosen by test images.

Arms, for a target half T, the other half S and n layers:

========  ==============================================================================
base      T from scratch
base x2   T from scratch, twice as long: as many updates on T as BnB+ gets in total
BnB       first n layers of T's base, frozen, the others fresh, trained on T
BnB+      the same, all learning
AnB       first n layers of S's base, frozen, the others fresh, trained on T
AnB+      the same, all learning
random    first n layers random, frozen, the others trained on T
========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.errors import DataError, UsageError
from steradian.files import write_json
from steradian.models.encoders import EIGHT_LAYER
from steradian.studies.study import Failures, Phase, Study, Summary, Workforce, run_study
from steradian.studies.transferability.halves import halves_of, joined, of_classes
from steradian.studies.transferability.networks import (
    RESULT,
    accuracies,
    encoder_depth,
    is_finished,
    read_results,
    train_network,
)
from steradian.studies.transferability.report import build_report, numbers_of
from steradian.studies.transferability.result import MOVED, Arm, Cell, Transfer, TransferResult, TransferSpec
from steradian.training.dataset import Dataset, TrainingData
from steradian.training.plan import make_plan, training_steps
from steradian.training.progress import progress_unless
from steradian.training.recipe import Recipe

CELLS = "cells"


def default_recipe() -> Recipe:
    """Return the default: eight layers, softmax, one schedule; no auxiliary head, which would be a ninth layer."""
    return Recipe().changed(
        **{
            "encoder": EIGHT_LAYER,
            "neck": "bn",
            "embedding_size": 128,
            "loss.name": "softmax",
            "data.calibration": 0.0,
            "training.auxiliary": 0.0,
            "training.centers": "random",
            "training.center_rate": 1.0,
            "training.epochs": 8,
        }
    )


def half_of(data: TrainingData, spec: TransferSpec) -> TrainingData:
    """Return the data of the target half of ``spec``, with its number of training images."""
    classes = halves_of(data.pixels.classes, spec.seed, spec.half)[spec.target]
    return of_classes(data, classes, spec.images, spec.seed)


def run_network(
    spec: TransferSpec, data: TrainingData, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Train and measure one network into ``folder``; its result is written last. An unfinished one goes on."""
    half_data = half_of(data, spec)
    model = train_network(spec.trained_by(folder.parent), half_data, folder, command, on_step)
    content = {name: getattr(spec, name) for name in ("seed", "target", "arm", "layers", "images")}
    write_json(folder / RESULT, content | accuracies(model, half_data))


def open_domains(study: Transfer, progress: DataProgress = no_progress) -> tuple[TrainingData, Transfer]:
    """Return the data of ``study``, of both domains where there are two, and the study with its halves and layers.

    Raises:
        UsageError: the domains differ in channels, a half cannot be made, or a layer does not exist.
    """
    dataset = Dataset.open(study.recipe)
    study, data = replace(study, recipe=dataset.recipe), dataset.decode(progress)
    if study.other is not None:
        if study.half:
            raise UsageError("--half cannot be combined with --other: the other domain is the second half.")
        size = data.preprocessing.size
        second = study.recipe.changed(**{"data.source": study.other, "data.image_size": size})
        study = replace(study, half=data.pixels.classes)
        data = joined(data, Dataset.open(second).decode(progress))
    halves_of(data.pixels.classes, 0, study.half)
    depth = encoder_depth(make_plan(study.recipe, data))
    layers = study.layers if study.layers is not None else tuple(range(1, depth + 1))
    if not layers or not set(layers) <= set(range(1, depth + 1)):
        raise UsageError(f"{study.recipe.encoder} has {depth} layers: 1 to {depth} can be moved, not {list(layers)}.")
    return data, replace(study, layers=layers)


@dataclass(frozen=True)
class TransferStudy(Study[TransferResult]):
    """Moved layers as a study: first the bases, then the networks that take their layers."""

    transfer: Transfer
    name: ClassVar[str] = "transfer"
    kind: ClassVar[str] = "transfer study"

    def identity(self) -> dict[str, Any]:
        study = self.transfer
        settings = {"half": list(study.half), "other": study.other, "target_images": study.target_images}
        return {**settings, "recipe": study.recipe.model_dump(mode="json")}

    def phases(self, data: TrainingData, out: Path) -> Generator[Phase, Failures, None]:
        steps, needs = training_steps(self.transfer.recipe, data) // 2, attrgetter("source")
        for title, specs in (("bases", self.transfer.bases()), ("transfer", self.transfer.moved())):
            yield Phase(title, specs, run_network, CELLS, steps, is_finished, needs, one_thread_each=True)

    def finish(
        self, data: TrainingData, out: Path, failures: Failures, origin: dict[str, Any]
    ) -> tuple[TransferResult, Summary]:
        rows = read_results((*self.transfer.bases(), *self.transfer.moved()), out / CELLS)
        cells = tuple(Cell(**row) for row in rows)
        result = TransferResult(self.transfer, len(data.pixels.classes), cells, failures, origin)
        return result, Summary([vars(cell) for cell in cells], build_report(result).html(), numbers_of(result))


def transfer(
    source: str | Recipe,
    *,
    layers: Sequence[int] | None = None,
    seeds: int = 3,
    half: Sequence[str] = (),
    other: str | None = None,
    target_images: int | None = None,
    arms: Sequence[Arm] = MOVED,
    out: str | Path | None = None,
    jobs: int | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
) -> TransferResult:
    """Measure how general each layer is: move the first n layers from one half of the classes to the other.

    Args:
        source: images, trained by `default_recipe`; or the recipe of every training.
        layers: the values of n; None: 1 to the depth of the encoder.
        seeds: number of runs, each with its own halves (unless they are given) and weights.
        half: names of the classes of half A; empty: a random half by the seed.
        other: images of another domain, whose classes are half B; half A is those of ``source``.
        target_images: training images that a target has; None: all. A number makes a large source and a small target.
        arms: the arms of `MOVED` to train.
        out: a new folder, or one with an earlier run of the same study; None: ``runs/transfer-NAME``.
        jobs: networks at once; None: one per core.
        exist_ok: write into a folder that holds other things.
        quiet: show no progress.

    Raises:
        UsageError: ``out`` holds another study or other files, or a half cannot be made.
        DataError: the test part is empty.
    """
    recipe = source if isinstance(source, Recipe) else default_recipe().changed(**{"data.source": source})
    chosen = None if layers is None else tuple(layers)
    wanted = Transfer(recipe, chosen, seeds, tuple(half), other, target_images, tuple(arms))
    data, study = open_domains(wanted, progress_unless(quiet))
    if len(data.splits.test) == 0:
        raise DataError("The test part is empty, so nothing can be measured. Set data.test above 0.")
    return run_study(TransferStudy(study), study.recipe, data, out, Workforce(jobs, quiet), exist_ok=exist_ok)
