"""Which layers of a pretrained encoder should stay as they are for these images?

For each n, on the user's own data, with paired seeds:

=======  ====================================================================
kept     all layers from the pretrained encoder; the first n frozen, the others tuned (``train --freeze n``)
moved    only the first n from it, frozen; the others fresh (AnB of system C)
tuned    only the first n from it, the others fresh; all learn (AnB+)
scratch  nothing from it
=======  ====================================================================

The n that is advised is chosen by validation images; its accuracy is told from test images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.errors import DataError, UsageError
from steradian.files import locked, new_folder, write_json, write_text
from steradian.metrics import Interval, t_interval
from steradian.studies.networks import RESULT, accuracies, encoder_depth, results, train_network, train_networks
from steradian.studies.place import check_place
from steradian.studies.workers import Work
from steradian.training.checkpoint import latest_checkpoint
from steradian.training.prepared import Prepared, prepare
from steradian.training.recipe import Recipe
from steradian.training.rehearsal import rehearse
from steradian.training.run import provenance, training_steps
from steradian.training.tracking import table

FreezeArm = Literal["kept", "moved", "tuned", "scratch"]
ARMS: tuple[FreezeArm, ...] = ("kept", "moved", "tuned")
IDENTITY, CELLS = "freezing.json", "cells"


@dataclass(frozen=True)
class FreezeSpec:
    """One network."""

    seed: int
    arm: FreezeArm
    layers: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"seed{self.seed}-{self.arm}-{self.layers}"

    @property
    def source(self) -> None:
        """The pretrained encoder, which is no network of this study."""
        return None

    def trained_by(self) -> Recipe:
        """The recipe of this network."""
        frozen = self.layers if self.arm in ("kept", "moved") else 0
        changes: dict[str, Any] = {"training.seed": self.recipe.training.seed + self.seed, "training.freeze": frozen}
        if self.arm in ("moved", "tuned"):
            changes["transfer_layers"] = self.layers
        if self.arm == "scratch":
            changes["weights"] = None
        return self.recipe.changed(**changes)


@dataclass(frozen=True)
class FreezeCell:
    """What a network came to; ``cpu_seconds`` is NaN for one that was stopped and went on."""

    seed: int
    arm: FreezeArm
    layers: int
    accuracy: float
    validation: float
    test_images: int
    cpu_seconds: float


@dataclass(frozen=True)
class Frozen:
    """A finished study.

    Attributes:
        depth: layers of the encoder.
        layers: the values of n.
    """

    recipe: Recipe
    depth: int
    layers: tuple[int, ...]
    seeds: int
    cells: tuple[FreezeCell, ...]
    failures: dict[str, str]
    provenance: dict[str, Any]

    def values(self, arm: FreezeArm, layers: int, what: str = "accuracy") -> dict[int, float]:
        """seed -> accuracy (or "validation", "cpu_seconds") of the networks of ``arm`` with n ``layers``."""
        return {cell.seed: getattr(cell, what) for cell in self.cells if (cell.arm, cell.layers) == (arm, layers)}

    def advised(self) -> int | None:
        """The n of "kept" with the best mean validation accuracy, the larger n (less to train) of equal ones."""
        found = {n: list(self.values("kept", n, "validation").values()) for n in self.layers}
        means = {n: float(np.mean(values)) for n, values in found.items() if values}
        return max(means, key=lambda n: (means[n], n)) if means else None

    def difference(self, layers: int, other: int) -> Interval:
        """Test accuracy with n ``layers`` kept less that with ``other``, paired by seed."""
        a, b = self.values("kept", layers), self.values("kept", other)
        return t_interval([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def run_network(
    spec: FreezeSpec, prepared: Prepared, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Train and measure one network into ``folder``; `RESULT` is written last. An unfinished one goes on."""
    resumed, began = latest_checkpoint(folder) is not None, time.process_time()
    model = train_network(spec.trained_by(), prepared, folder, command, on_step)
    # What was spent before a stop is not known any more.
    spent = None if resumed else time.process_time() - began
    content = {"seed": spec.seed, "arm": spec.arm, "layers": spec.layers, "cpu_seconds": spent}
    write_json(folder / RESULT, content | accuracies(model, prepared))


def study_freezing(
    recipe: Recipe,
    out: Path,
    *,
    command: str,
    layers: tuple[int, ...] | None = None,
    seeds: int = 3,
    jobs: int | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
    decoding: DataProgress = no_progress,
) -> Frozen:
    """Train every network that ``out`` does not hold yet, and write ``results.csv``.

    Args:
        recipe: of every network; it names pretrained weights.
        layers: values of n from 0 to the depth of the encoder; None: all.

    Raises:
        UsageError: no pretrained weights, a layer that does not exist, or ``out`` holds another study.
        DataError: no validation images to choose by, or no test images to measure on.
    """
    if recipe.weights is None:
        raise UsageError("Which layers to keep can be asked of a pretrained encoder only: name its --weights.")
    prepared = prepare(recipe, decoding)
    if min(len(prepared.splits.validation), len(prepared.splits.test)) == 0:
        raise DataError("The study chooses by validation images and measures on test images: both parts are needed.")
    rehearse(recipe, prepared)
    depth = encoder_depth(recipe, prepared)
    chosen = layers if layers is not None else tuple(range(depth + 1))
    if strange := sorted(set(chosen) - set(range(depth + 1))):
        raise UsageError(f"{recipe.encoder} has {depth} layers: of 0 to {depth} can be kept, not {strange[0]}.")
    identity = {
        "format": "steradian.freezing",
        "version": 1,
        "data": prepared.digest,
        "recipe": recipe.model_dump(mode="json"),
    }
    check_place(out, IDENTITY, identity, "study of freezing", exist_ok=exist_ok)
    new_folder(out, exist_ok=True)
    # With none or all of the layers taken, the arms are those that stand already.
    between = tuple(n for n in chosen if 0 < n < depth)
    numbers: dict[FreezeArm, tuple[int, ...]] = {"scratch": (0,), "kept": chosen, "moved": between, "tuned": between}
    specs = [FreezeSpec(seed, arm, n, recipe) for seed in range(seeds) for arm, some in numbers.items() for n in some]
    with locked(out):
        write_json(out / IDENTITY, identity)
        work = Work(run_network, prepared, out / CELLS, command, threads=1)
        steps = training_steps(recipe, prepared)
        failures = train_networks(specs, work, steps, "networks", jobs, quiet=quiet)
        cells = tuple(FreezeCell(**row) for row in results(specs, out / CELLS))
        write_text(out / "results.csv", table([vars(cell) for cell in cells]))
    return Frozen(recipe, depth, chosen, seeds, cells, failures, provenance(prepared, recipe, command))
