"""The loop, recipes, checkpoints and exact resume."""

from steradian.training.prepared import Prepared, prepare
from steradian.training.recipe import Recipe, read_recipe, write_recipe
from steradian.training.run import Trained, train

__all__ = ["Prepared", "Recipe", "Trained", "prepare", "read_recipe", "train", "write_recipe"]
