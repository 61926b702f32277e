"""Define a comparison: techniques, dimensions and seeds, on one shared recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steradian.studies.comparison.cells import CellSpec
from steradian.studies.comparison.tuning import Trial
from steradian.training.recipe import Recipe

TECHNIQUES = ("softmax", "triplet", "sphereface", "cosface", "arcface", "sphere-arc")
"""Default techniques: those of system B and its hybrid."""


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
