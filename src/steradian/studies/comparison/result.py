"""What a comparison compares, on one shared recipe, and its numbers by technique, dimension and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.metrics import Interval, crossed_interval, t_interval, wilson_interval
from steradian.notebook import facts_html
from steradian.percentages import between, percent
from steradian.studies.comparison.cells import CellResult, CellSpec
from steradian.studies.comparison.tuning import Trial
from steradian.studies.evaluation.inputs import flat
from steradian.training.recipe import Recipe

TECHNIQUES = ("softmax", "triplet", "sphereface", "cosface", "arcface", "sphere-arc")
"""What is compared by default: system B's techniques and its hybrid."""
KEYS = (
    ("clustering.majority", ".4f"),
    ("closed.accuracy", ".4f"),
    ("neighbors.knn_accuracy", ".4f"),
    ("verification.eer", ".4f"),
    ("cost.seconds_per_epoch", ".2f"),
)
"""Columns of the summary: metric and format."""


@dataclass(frozen=True)
class Comparison:
    """Settings of a comparison. All cells share ``recipe``; each sets its technique, dimension and seed.

    Attributes:
        trials: of the search for margin and scale, for each technique and dimension; 0: the fitted values.
        tuned: (technique, dimension) -> the best trial of the search.
    """

    recipe: Recipe
    losses: tuple[str, ...]
    dims: tuple[int, ...]
    seeds: int
    trials: int = 0
    tuned: Mapping[tuple[str, int], Trial] = field(default_factory=dict)

    def recipe_of(self, loss: str, dims: int) -> Recipe:
        """Return the shared recipe for one technique, without what a search found."""
        return self.recipe.changed(**{"embedding_size": dims, "loss.name": loss})

    def cells(self) -> list[CellSpec]:
        """Return every cell, seeds outermost, so that an interrupted study has whole rows of techniques."""
        cells = []
        for seed in range(self.seeds):
            for dims in self.dims:
                for loss in self.losses:
                    changes: dict[str, Any] = {"training.seed": self.recipe.training.seed + seed}
                    if (loss, dims) in self.tuned:
                        searched = self.tuned[loss, dims].options
                        changes["loss.options"] = {**self.recipe.loss.options, **searched}
                    recipe = self.recipe_of(loss, dims).changed(**changes)
                    cells.append(CellSpec(loss, dims, self.recipe.training.seed + seed, recipe))
        return cells


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """A finished comparison.

    Attributes:
        cells: results in the order of `Comparison.cells`; failed ones are missing.
        failures: cell name -> message.
        provenance: command, data, versions, date.
        warnings: about the data.
        folder: where report and results are; None for a result that was put together by hand.
    """

    comparison: Comparison
    classes: tuple[str, ...]
    cells: tuple[CellResult, ...]
    failures: dict[str, str]
    provenance: dict[str, Any]
    warnings: tuple[str, ...]
    folder: Path | None = None

    @property
    def report(self) -> Path | None:
        """The report, an HTML file."""
        return self.folder / "report.html" if self.folder is not None else None

    def __repr__(self) -> str:
        settings = self.comparison
        return (
            f"ComparisonResult({', '.join(settings.losses)}; {len(self.cells)} runs of {settings.recipe.data.source!r})"
        )

    def _repr_html_(self) -> str:
        rows = {
            f"{loss}, {dims}-D": f"{percent(share.mean)} of test images named right ({between(share.low, share.high)})"
            for dims in self.comparison.dims
            for loss, share in self.shares("closed.accuracy", dims).items()
        }
        return facts_html(repr(self), rows)

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

    def shares(self, key: str, dims: int) -> dict[str, Interval]:
        """Map technique -> share of test images that `right` counts, in ``dims`` dimensions, with its 95 % interval."""
        shares = {}
        for loss, by_seed in self.right(key, dims).items():
            items = np.stack(list(by_seed.values()))
            several = min(items.shape) > 1
            shares[loss] = crossed_interval(items) if several else wilson_interval(int(items.sum()), items.size)
        return shares

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


def summary_rows(compared: ComparisonResult) -> list[list[str]]:
    """Return a row per technique and dimension: name, dims, means (± half the 95 % interval) of `KEYS`."""
    rows = []
    for dims in compared.comparison.dims:
        for name in compared.comparison.losses:
            cells = [name, str(dims)]
            for key, form in KEYS:
                values = compared.values(key, dims)[name]
                interval = t_interval(values) if values else None
                if interval is None:
                    cells.append("–")
                elif math.isnan(interval.low) or key.startswith("cost."):
                    cells.append(f"{np.mean(values):{form}}")
                else:
                    cells.append(f"{interval.mean:{form}} ± {interval.half_width:{form}}")
            rows.append(cells)
    return rows
