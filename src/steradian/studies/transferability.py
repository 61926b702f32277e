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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steradian.data.pixels import Progress as DataProgress
from steradian.data.pixels import available_cores, no_progress, subset
from steradian.data.splits import Splits
from steradian.errors import DataError, UsageError, did_you_mean
from steradian.files import check_folder, locked, new_folder, read_json, write_json, write_text
from steradian.models.encoders import EIGHT_LAYER
from steradian.studies.measurement import embed_pixels
from steradian.studies.workers import Work, run_here, run_in_workers
from steradian.training.prepared import Prepared, prepare
from steradian.training.progress import Progress
from steradian.training.recipe import Recipe
from steradian.training.run import provenance, saved_model, train, training_steps
from steradian.training.tracking import table

Arm = Literal["base", "base x2", "BnB", "BnB+", "AnB", "AnB+", "random"]
Half = Literal["A", "B"]
HALVES: tuple[Half, Half] = ("A", "B")
MOVED: tuple[Arm, ...] = ("BnB", "BnB+", "AnB", "AnB+", "random")
LAYERS = (1, 2, 3, 4, 5, 6, 7)

IDENTITY, CELLS, RESULT, MODEL = "transfer.json", "cells", "result.json", "model"


@dataclass(frozen=True)
class Transfer:
    """What to study.

    Attributes:
        recipe: of every training; its seed is that of the first run.
        layers: the values of n.
        seeds: runs, each with halves (unless they are given) and weights of its own.
        half: classes of half A by name, or none: a random half by the seed.
        target_images: training images that a target has, or None for all: a large source and a small target.
        arms: which of `MOVED` are trained.
    """

    recipe: Recipe
    layers: tuple[int, ...] = LAYERS
    seeds: int = 3
    half: tuple[str, ...] = ()
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
            for n in self.layers
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


def halves_of(classes: Sequence[str], seed: int, half: Sequence[str] = ()) -> dict[Half, NDArray[np.bool_]]:
    """Which classes belong to each half, bool [C]: a random half by ``seed``, or those named in ``half`` and the rest.

    Raises:
        UsageError: a name that is no class; a half with fewer than two classes.
    """
    if half:
        for name in half:
            if name not in classes:
                raise UsageError(f"There is no class {name!r} to split by. {did_you_mean(name, classes)}")
        first = np.isin(np.array(classes), np.array(half))
    else:
        first = np.zeros(len(classes), dtype=bool)
        first[np.random.default_rng(seed).permutation(len(classes))[: len(classes) // 2]] = True
    if min(first.sum(), (~first).sum()) < 2:
        raise UsageError(
            f"Halves of {first.sum()} and {(~first).sum()} classes: each needs two or more to tell apart. "
            "Take data with four classes or more."
        )
    return {"A": first, "B": ~first}


def half_of(prepared: Prepared, spec: TransferSpec) -> Prepared:
    """The data of the target half of ``spec``, with as many training images as it has; preprocessing is everybody's."""
    pixels, splits = prepared.pixels, prepared.splits
    inside = halves_of(pixels.classes, spec.seed, spec.half)[spec.target][pixels.labels]
    chosen = np.flatnonzero(inside)
    place = np.full(len(pixels), -1)
    place[chosen] = np.arange(len(chosen))
    parts = {name: place[part[inside[part]]] for name, part in vars(splits).items()}
    own = subset(pixels, chosen)
    if spec.images is not None and spec.images < len(parts["train"]):
        parts["train"] = _spread_over_classes(own.labels, parts["train"], spec.images, spec.seed)
    return replace(prepared, pixels=own, splits=Splits(**parts), unseen=None)


def _spread_over_classes(labels: NDArray[np.int64], pool: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """``count`` of the pool, of each class as many as of any other, as far as it goes."""
    shuffled = np.random.default_rng([seed, 2]).permutation(pool)
    turn = np.empty(len(shuffled), dtype=np.int64)
    for label in np.unique(labels[shuffled]):
        members = np.flatnonzero(labels[shuffled] == label)
        turn[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:count]])


def run_network(
    spec: TransferSpec, prepared: Prepared, folder: Path, command: str, on_step: Callable[[int], None]
) -> None:
    """Train and measure one network into ``folder``; `RESULT` is written last. An unfinished one goes on."""
    own, recipe = half_of(prepared, spec), spec.trained_by(folder.parent)
    done = 0

    def on_batch(step: int, total: int, note: str) -> None:
        nonlocal done
        on_step(step - done)
        done = step

    trained = train(recipe, own, folder, on_batch=on_batch)
    model = saved_model(trained.model, folder / MODEL, provenance(own, recipe, command))
    right = {}
    for part in ("validation", "test"):
        chosen = vars(own.splits)[part]
        right[part] = embed_pixels(model, own.pixels.pixels[chosen], own.pixels.labels[chosen]).right
    content = {name: getattr(spec, name) for name in ("seed", "target", "arm", "layers", "images")}
    content |= {"accuracy": float(right["test"].mean()), "test_images": len(right["test"])}
    content["validation"] = float(right["validation"].mean()) if len(right["validation"]) else None
    write_json(folder / RESULT, content)


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
    prepared = prepare(study.recipe, decoding)
    halves_of(prepared.pixels.classes, 0, study.half)
    if len(prepared.splits.test) == 0:
        raise DataError("There is nothing to measure on: the test part is empty. It takes data.test above 0.")
    identity = {
        "format": "steradian.transfer",
        "version": 1,
        "data": prepared.digest,
        "half": list(study.half),
        "target_images": study.target_images,
        "recipe": study.recipe.model_dump(mode="json"),
    }
    _check_place(out, identity, exist_ok)
    new_folder(out, exist_ok=True)
    failures: dict[str, str] = {}
    with locked(out):
        write_json(out / IDENTITY, identity)
        steps = training_steps(study.recipe, prepared) // 2
        for words, specs in (("bases", study.bases()), ("transfer", study.moved())):
            todo = [spec for spec in specs if not (out / CELLS / spec.name / RESULT).is_file()]
            ready = [spec for spec in todo if spec.source is None or (out / CELLS / spec.source / RESULT).is_file()]
            failures |= {spec.name: "its base failed" for spec in todo if spec not in ready}
            if not ready:
                continue
            work = Work(run_network, prepared, out / CELLS, command, threads=1)
            count = min(len(ready), jobs if jobs is not None else available_cores())
            with Progress(steps * len(ready), words, quiet=quiet) as progress:
                run = run_here(ready, work, progress) if count == 1 else run_in_workers(ready, work, count, progress)
            failures |= run
        found = [
            Cell(**_nan_for_none(read_json(path)))
            for spec in (*study.bases(), *study.moved())
            if (path := out / CELLS / spec.name / RESULT).is_file()
        ]
        write_text(out / "results.csv", table([vars(cell) for cell in found]))
    origin = provenance(prepared, study.recipe, command)
    return Transferred(study, len(prepared.pixels.classes), tuple(found), failures, origin)


def _nan_for_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, "validation": content["validation"] if content["validation"] is not None else float("nan")}


def _check_place(out: Path, identity: dict[str, Any], exist_ok: bool) -> None:
    if not (out / IDENTITY).is_file():
        check_folder(out, exist_ok=exist_ok)
    elif (found := read_json(out / IDENTITY)) != identity:
        different = next(key for key in identity if found.get(key) != identity[key])
        raise UsageError(
            f"{out} holds another study of transfer (its {different} is another). Choose another --out, or repeat the "
            "command that started it."
        )
