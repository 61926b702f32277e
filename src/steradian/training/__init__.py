"""From recipe to trained model: the plan, the loop, checkpoints and exact resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steradian.lazy import lazy

if TYPE_CHECKING:
    from steradian.training.dataset import Dataset, TrainingData, load_data
    from steradian.training.plan import TrainingPlan, make_plan
    from steradian.training.preflight import preflight
    from steradian.training.recipe import Recipe, read_recipe, write_recipe
    from steradian.training.run import TrainingResult, train
    from steradian.training.run_folder import RunFolder

__all__ = [
    "Dataset", "Recipe", "RunFolder", "TrainingData", "TrainingPlan", "TrainingResult", "load_data", "make_plan",
    "preflight", "read_recipe", "train", "write_recipe",
]  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__,
    {
        "dataset": "Dataset TrainingData load_data",
        "plan": "TrainingPlan make_plan",
        "preflight": "preflight",
        "recipe": "Recipe read_recipe write_recipe",
        "run": "TrainingResult train",
        "run_folder": "RunFolder",
    },
)
