"""How general is each layer? Networks trained on one half of the classes, their first n layers moved to the other half.

The design of "How transferable are features in deep neural networks?" (Yosinski et al. 2014; system C), with what its
published comparison lacks: a base trained twice as long beside the fine-tuned arms, random frozen layers on the same
halves, differences paired by target half and seed, and nothing chosen by test images.

Arms, for a target half T, the other half S and n layers:

========  ==============================================================================
base      T from scratch
base x2   T from scratch, twice as long: as many updates on T as BnB+ has seen in all
BnB       first n layers of T's base, frozen, the others fresh, trained on T
BnB+      the same, all learning
AnB       first n layers of S's base, frozen, the others fresh, trained on T
AnB+      the same, all learning
random    first n layers random, frozen, the others trained on T
========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import no_progress
from steradian.errors import DataError, UsageError
from steradian.files import locked, new_folder, write_json, write_text
from steradian.models.encoders import EIGHT_LAYER
from steradian.studies.halves import HALVES, Half, halves_of, joined, of_classes
from steradian.studies.networks import MODEL, RESULT, accuracies, encoder_depth, results, train_network, train_networks
from steradian.studies.place import check_place
from steradian.studies.workers import Work
from steradian.training.prepared import Prepared, prepare
from steradian.training.recipe import Recipe
from steradian.training.run import provenance, training_steps
from steradian.training.tracking import table

Arm = Literal["base", "base x2", "BnB", "BnB+", "AnB", "AnB+", "random"]
MOVED: tuple[Arm, ...] = ("BnB", "BnB+", "AnB", "AnB+", "random")

IDENTITY, CELLS = "transfer.json", "cells"


@dataclass(frozen=True)
class Transfer:
    """What to study.

    Attributes:
        recipe: of every training; its seed is that of the first run.
        layers: the values of n; None: from 1 to the layers of the encoder.
        seeds: runs, each with halves (unless they are given) and weights of its own.
        half: classes of half A by name, or none: a random half by the seed.
        other: images of another domain, whose classes are half B and those of the recipe's data half A; or None.
        target_images: training images that a target has, or None for all: a large source and a small target.
        arms: which of `MOVED` are trained.
    """

    recipe: Recipe
    layers: tuple[int, ...] | None = None
    seeds: int = 3
    half: tuple[str, ...] = ()
    other: str | None = None
    target_images: int | None = None
    arms: tuple[Arm, ...] = MOVED

    def bases(self) -> list[TransferSpec]:
        """Networks from scratch, which the other arms start from."""
        found = []
        for seed in range(self.seeds):
            for target in HALVES:
                small = [self._spec(seed, target, "base", 0, self.target_images)]
                large = [self._spec(seed, target, "base", 0, None)] if self.target_images is not None else []
                found += [*large, *small, self._spec(seed, target, "base x2", 0, self.target_images)]
        return found

    def moved(self) -> list[TransferSpec]:
        """Networks with layers of a base, or random ones that stay."""
        return [
            self._spec(seed, target, arm, n, self.target_images)
            for seed in range(self.seeds)
            for target in HALVES
            for n in self.layers or ()
            for arm in self.arms
        ]

    def _spec(self, seed: int, target: Half, arm: Arm, layers: int, images: int | None) -> TransferSpec:
        return TransferSpec(seed, target, arm, layers, images, self.half, self.recipe)


@dataclass(frozen=True)
class TransferSpec:
    """One network: which arm of which study, for which half as the target."""

    seed: int
    target: Half
    arm: Arm
    layers: int
    images: int | None
    half: tuple[str, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of its folder."""
        words = self.arm.replace("+", "-tuned").replace(" ", "-")
        size = f"-{self.images}" if self.images is not None else ""
        return f"seed{self.seed}-{self.target}-{words}{f'-{self.layers}' if self.layers else ''}{size}"

    @property
    def source(self) -> str | None:
        """Folder of the base whose layers are taken: the own half's for BnB, the other's (with all images) for AnB."""
        if self.arm in ("base", "base x2", "random"):
            return None
        own = self.arm.startswith("BnB")
        half = self.target if own else HALVES[1 - HALVES.index(self.target)]
        return replace(self, target=half, arm="base", layers=0, images=self.images if own else None).name

    def trained_by(self, cells: Path) -> Recipe:
        """The recipe of this network, whose base stands in ``cells``."""
        changes: dict[str, Any] = {"training.seed": self.recipe.training.seed + self.seed}
        if self.arm == "base x2":
            changes["training.epochs"] = 2 * self.recipe.training.epochs
        if self.source is not None:
            changes |= {"weights": str(cells / self.source / MODEL), "transfer_layers": self.layers}
            # The same seed would give fresh layers the values that the base's began with.
            changes["training.seed"] += 1000
        changes["training.freeze"] = self.layers if self.arm in ("BnB", "AnB", "random") else 0
        return self.recipe.changed(**changes)


@dataclass(frozen=True)
class Cell:
    """What a network came to: accuracy on test images of its target half."""

    seed: int
    target: Half
    arm: Arm
    layers: int
    images: int | None
    accuracy: float
    validation: float
    test_images: int


@dataclass(frozen=True)
class Transferred:
    """A finished study, with the networks that failed by name."""

    transfer: Transfer
    classes: int
    cells: tuple[Cell, ...]
    failures: dict[str, str]
    provenance: dict[str, Any]

    @property
    def layers(self) -> tuple[int, ...]:
        """The values of n."""
        return self.transfer.layers or ()

    def accuracies(self, arm: Arm, layers: int = 0) -> dict[tuple[int, Half], float]:
        """(seed, target half) -> accuracy of the networks of ``arm`` for the target's number of images."""
        return {
            (cell.seed, cell.target): cell.accuracy
            for cell in self.cells
            if cell.arm == arm and cell.layers == layers and cell.images == self.transfer.target_images
        }

    def differences(self, arm: Arm, layers: int, to: Arm = "base") -> list[float]:
        """Accuracy of ``arm`` less that of the base (or the longer base) of the same seed and target half."""
        base, found = self.accuracies(to), self.accuracies(arm, layers)
        return [found[key] - base[key] for key in sorted(found.keys() & base.keys())]


def default_recipe() -> Recipe:
    """Eight layers, plain softmax, one schedule for every arm; no auxiliary head, which would be a ninth layer."""
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


def half_of(prepared: Prepared, spec: TransferSpec) -> Prepared:
    """The data of the target half of ``spec``, with as many training images as it has."""
    classes = halves_of(prepared.pixels.classes, spec.seed, spec.half)[spec.target]
    return of_classes(prepared, classes, spec.images, spec.seed)


def run_network(
    spec: TransferSpec, prepared: Prepared, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Train and measure one network into ``folder``; `RESULT` is written last. An unfinished one goes on."""
    own = half_of(prepared, spec)
    model = train_network(spec.trained_by(folder.parent), own, folder, command, on_step)
    content = {name: getattr(spec, name) for name in ("seed", "target", "arm", "layers", "images")}
    write_json(folder / RESULT, content | accuracies(model, own))


def prepare_domains(study: Transfer, progress: DataProgress = no_progress) -> tuple[Prepared, Transfer]:
    """The data of ``study``, of both domains where there are two, and the study with its halves and layers.

    Raises:
        UsageError: domains of another number of channels, a half that cannot be made, a layer that does not exist.
    """
    prepared = prepare(study.recipe, progress)
    if study.other is not None:
        if study.half:
            raise UsageError("Halves by name cannot be had with a second domain, whose classes are the second half.")
        size = prepared.preprocessing.size
        second = prepare(study.recipe.changed(**{"data.source": study.other, "data.image_size": size}), progress)
        study = replace(study, half=prepared.pixels.classes)
        prepared = joined(prepared, second)
    halves_of(prepared.pixels.classes, 0, study.half)
    depth = encoder_depth(study.recipe, prepared)
    layers = study.layers if study.layers is not None else tuple(range(1, depth + 1))
    if not layers or not set(layers) <= set(range(1, depth + 1)):
        raise UsageError(f"{study.recipe.encoder} has {depth} layers: 1 to {depth} can be moved, not {list(layers)}.")
    return prepared, replace(study, layers=layers)


def transfer(
    study: Transfer,
    out: Path,
    *,
    command: str,
    jobs: int | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
    decoding: DataProgress = no_progress,
) -> Transferred:
    """Train every network that ``out`` does not hold yet, bases first, and write ``results.csv``.

    Raises:
        UsageError: ``out`` holds another study or other files; halves that cannot be made.
        DataError: nothing to test on.
    """
    prepared, study = prepare_domains(study, decoding)
    if len(prepared.splits.test) == 0:
        raise DataError("There is nothing to measure on: the test part is empty. It takes data.test above 0.")
    identity = {
        "format": "steradian.transfer",
        "version": 1,
        "data": prepared.digest,
        "half": list(study.half),
        "other": study.other,
        "target_images": study.target_images,
        "recipe": study.recipe.model_dump(mode="json"),
    }
    check_place(out, IDENTITY, identity, "study of transfer", exist_ok=exist_ok)
    new_folder(out, exist_ok=True)
    failures: dict[str, str] = {}
    with locked(out):
        write_json(out / IDENTITY, identity)
        steps = training_steps(study.recipe, prepared) // 2
        for words, specs in (("bases", study.bases()), ("transfer", study.moved())):
            work = Work(run_network, prepared, out / CELLS, command, threads=1)
            failures |= train_networks(specs, work, steps, words, jobs, quiet=quiet)
        found = [Cell(**row) for row in results((*study.bases(), *study.moved()), out / CELLS)]
        write_text(out / "results.csv", table([vars(cell) for cell in found]))
    origin = provenance(prepared, study.recipe, command)
    return Transferred(study, len(prepared.pixels.classes), tuple(found), failures, origin)
