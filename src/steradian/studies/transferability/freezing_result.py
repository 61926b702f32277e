"""The networks of a freezing study and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from steradian.metrics import Interval, t_interval
from steradian.training.recipe import Recipe

FreezeArm = Literal["kept", "moved", "tuned", "scratch"]
ARMS: tuple[FreezeArm, ...] = ("kept", "moved", "tuned")


@dataclass(frozen=True)
class FreezeSpec:
    """Specification of one network."""

    seed: int
    arm: FreezeArm
    layers: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"seed{self.seed}-{self.arm}-{self.layers}"

    def trained_by(self) -> Recipe:
        """Return the recipe of this network."""
        frozen = self.layers if self.arm in ("kept", "moved") else 0
        changes: dict[str, Any] = {"training.seed": self.recipe.training.seed + self.seed, "training.freeze": frozen}
        if self.arm in ("moved", "tuned"):
            changes["transfer_layers"] = self.layers
        if self.arm == "scratch":
            changes["weights"] = None
        return self.recipe.changed(**changes)


@dataclass(frozen=True)
class FreezeCell:
    """Result of one network; ``cpu_seconds`` is NaN if its training was interrupted and resumed."""

    seed: int
    arm: FreezeArm
    layers: int
    accuracy: float
    validation: float
    test_images: int
    cpu_seconds: float


@dataclass(frozen=True)
class FreezingResult:
    """A finished study.

    Attributes:
        depth: number of encoder layers.
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
        """Map seed -> accuracy (or "validation", "cpu_seconds") of the networks of ``arm`` with n ``layers``."""
        return {cell.seed: getattr(cell, what) for cell in self.cells if (cell.arm, cell.layers) == (arm, layers)}

    def advised(self) -> int | None:
        """Return the n of "kept" with the best mean validation accuracy; ties go to the larger n (less to train)."""
        by_layers = {n: list(self.values("kept", n, "validation").values()) for n in self.layers}
        means = {n: float(np.mean(values)) for n, values in by_layers.items() if values}
        return max(means, key=lambda n: (means[n], n)) if means else None

    def difference(self, layers: int, other: int) -> Interval:
        """Return test accuracy with n ``layers`` kept minus that with ``other``, paired by seed."""
        a, b = self.values("kept", layers), self.values("kept", other)
        return t_interval([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])
