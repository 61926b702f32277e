"""The networks of a transfer study and their results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from steradian.studies.transferability.halves import HALVES, Half
from steradian.training.recipe import Recipe
from steradian.training.run_folder import RunFolder

Arm = Literal["base", "base x2", "BnB", "BnB+", "AnB", "AnB+", "random"]
"""By the names of the paper (Yosinski et al. 2014)."""
MOVED: tuple[Arm, ...] = ("BnB", "BnB+", "AnB", "AnB+", "random")


@dataclass(frozen=True)
class Transfer:
    """Settings of a transfer study.

    Attributes:
        recipe: base recipe of every network; its seed is that of the first run.
        layers: the values of n; None: from 1 to the layers of the encoder.
        seeds: runs, each with halves (unless they are given) and weights of its own.
        half: classes of half A by name, or none: a random half by the seed.
        other: images of another domain, or None. Its classes are half B; those of the recipe's data are half A.
        target_images: training images of a target, or None for all; set it to study a small target.
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
        """Return the networks trained from scratch, which the other arms start from."""
        specs = []
        for seed in range(self.seeds):
            for target in HALVES:
                small = [self._spec(seed, target, "base", 0, self.target_images)]
                large = [self._spec(seed, target, "base", 0, None)] if self.target_images is not None else []
                specs += [*large, *small, self._spec(seed, target, "base x2", 0, self.target_images)]
        return specs

    def moved(self) -> list[TransferSpec]:
        """Return the networks with layers of a base, or with frozen random layers."""
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
    """One network: an arm of the study, with one half as the target."""

    seed: int
    target: Half
    arm: Arm
    layers: int
    images: int | None
    half: tuple[str, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        """Name of its folder."""
        arm_name = self.arm.replace("+", "-tuned").replace(" ", "-")
        size = f"-{self.images}" if self.images is not None else ""
        return f"seed{self.seed}-{self.target}-{arm_name}{f'-{self.layers}' if self.layers else ''}{size}"

    @property
    def source(self) -> str | None:
        """Folder of the base whose layers are taken: of the target half for BnB, of the other (all images) for AnB."""
        if self.arm in ("base", "base x2", "random"):
            return None
        same_half = self.arm.startswith("BnB")
        half = self.target if same_half else HALVES[1 - HALVES.index(self.target)]
        return replace(self, target=half, arm="base", layers=0, images=self.images if same_half else None).name

    def trained_by(self, cells: Path) -> Recipe:
        """Return the recipe of this network; its base is in ``cells``."""
        changes: dict[str, Any] = {"training.seed": self.recipe.training.seed + self.seed}
        if self.arm == "base x2":
            changes["training.epochs"] = 2 * self.recipe.training.epochs
        if self.source is not None:
            changes |= {"weights": str(RunFolder(cells / self.source).model), "transfer_layers": self.layers}
            # With the same seed, new layers would start from the initial values of the base.
            changes["training.seed"] += 1000
        changes["training.freeze"] = self.layers if self.arm in ("BnB", "AnB", "random") else 0
        return self.recipe.changed(**changes)


@dataclass(frozen=True)
class Cell:
    """Result of one network: accuracy on test images of its target half."""

    seed: int
    target: Half
    arm: Arm
    layers: int
    images: int | None
    accuracy: float
    validation: float
    test_images: int


@dataclass(frozen=True)
class TransferResult:
    """A finished study; ``failures`` maps names of networks to messages."""

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
        """Map (seed, target half) -> accuracy of the networks of ``arm`` for the target's number of images."""
        return {
            (cell.seed, cell.target): cell.accuracy
            for cell in self.cells
            if cell.arm == arm and cell.layers == layers and cell.images == self.transfer.target_images
        }

    def differences(self, arm: Arm, layers: int, to: Arm = "base") -> list[float]:
        """Return accuracy of ``arm`` minus that of the base (or the longer base) of the same seed and target half."""
        base, by_arm = self.accuracies(to), self.accuracies(arm, layers)
        return [by_arm[key] - base[key] for key in sorted(by_arm.keys() & base.keys())]
