"""The numbers of a finished comparison, by technique, dimension and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.studies.comparison.cells import CellResult
from steradian.studies.comparison.comparison import Comparison
from steradian.studies.evaluation.inputs import flat


@dataclass(frozen=True)
class ComparisonResult:
    """A finished comparison.

    Attributes:
        cells: results in the order of `Comparison.cells`; failed ones are missing.
        failures: cell name -> message.
        provenance: command, data, versions, date.
        warnings: about the data.
    """

    comparison: Comparison
    classes: tuple[str, ...]
    cells: tuple[CellResult, ...]
    failures: dict[str, str]
    provenance: dict[str, Any]
    warnings: tuple[str, ...]

    def by_seed(self, key: str, dims: int) -> dict[str, dict[int, float]]:
        """Map technique -> seed -> metric ``key`` (dotted) in ``dims`` dimensions, without NaN."""
        numbers: dict[str, dict[int, float]] = {loss: {} for loss in self.comparison.losses}
        for cell in self.cells:
            value = float(dict(flat(cell.numbers)).get(key, float("nan")))
            if cell.spec.dims == dims and not math.isnan(value):
                numbers[cell.spec.loss][cell.spec.seed] = value
        return numbers

    def right(self, key: str, dims: int) -> dict[str, dict[int, NDArray[np.bool_]]]:
        """Map technique -> seed -> which test images metric ``key`` counts as correct, in ``dims`` dimensions."""
        numbers: dict[str, dict[int, NDArray[np.bool_]]] = {}
        for cell in self.cells:
            if cell.spec.dims == dims and key in cell.right:
                numbers.setdefault(cell.spec.loss, {})[cell.spec.seed] = cell.right[key]
        return numbers

    def values(self, key: str, dims: int) -> dict[str, list[float]]:
        """Map technique -> metric ``key`` (dotted) of each seed that has one, in ``dims`` dimensions."""
        return {loss: list(seeds.values()) for loss, seeds in self.by_seed(key, dims).items()}

    def first(self, dims: int) -> dict[str, CellResult]:
        """Map technique -> its cell of the first finished seed, in ``dims`` dimensions."""
        numbers: dict[str, CellResult] = {}
        for cell in self.cells:
            if cell.spec.dims == dims:
                numbers.setdefault(cell.spec.loss, cell)
        return numbers


def rows(compared: ComparisonResult) -> list[dict[str, Any]]:
    """Return one flat row per finished cell."""
    return [
        {
            "loss": cell.spec.loss,
            "dims": cell.spec.dims,
            "seed": cell.spec.seed,
            **dict(flat(cell.numbers)),
            **{f"option.{key}": value for key, value in cell.options.items()},
        }
        for cell in compared.cells
    ]
