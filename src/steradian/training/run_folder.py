"""The one place that knows the names of a run's files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from steradian.errors import UsageError
from steradian.files import check_folder, write_json
from steradian.models.artifact import README
from steradian.training.recipe import Recipe, read_recipe, write_recipe


class RunFolder:
    """A folder with one run: recipe, checkpoints, history, model, predictions, report and metrics.

    Attributes:
        recipe: everything needed to repeat the run.
        checkpoints: folder of checkpoints.
        history: one row per epoch.
        tensorboard: folder of TensorBoard event files.
        model: folder of the artifact.
        readme: the model card.
        predictions: one row per test image.
        embeddings: test embeddings of a cell of a comparison.
        report: the page.
        metrics: all numbers; written last, so that a run that has it is finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.checkpoints = path / "checkpoints"
        self.history = path / "history.csv"
        self.tensorboard = path / "tensorboard"
        self.model = path / "model"
        self.readme = self.model / README
        self.predictions = path / "predictions.csv"
        self.embeddings = path / "embeddings.npz"
        self.report = path / "report.html"
        self.metrics = path / "metrics.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained and measured to the end."""
        return self.metrics.is_file()

    def finish(self, metrics: dict[str, Any]) -> None:
        """Write the metrics, after which the run counts as finished."""
        write_json(self.metrics, metrics)

    def read_recipe(self) -> Recipe | None:
        """Return the recipe of the run, or None where there is none."""
        return read_recipe(self.recipe) if self.recipe.is_file() else None

    def check(self, recipe: Recipe, *, exist_ok: bool) -> None:
        """Refuse a folder that holds something other than an unfinished run of ``recipe``, without touching it.

        Raises:
            UsageError: another run, a finished one, or other files, and ``exist_ok`` is false.
        """
        held = None if exist_ok else self.read_recipe()
        if held is None:
            check_folder(self.path, exist_ok=exist_ok)
            return
        if held == recipe and not self.is_finished:
            return
        what = (
            "this run, finished" if held == recipe else "another run" if self.is_finished else "another run, unfinished"
        )
        raise UsageError(
            f"{self.path} holds {what}. Choose another folder (out), or allow it to train again in its "
            "place (--exist-ok, exist_ok=True)."
        )

    def claim(self, recipe: Recipe) -> None:
        """Make a locked folder that of ``recipe``: keep the checkpoints of its unfinished run, remove older files."""
        held = self.read_recipe()
        if held is not None and (self.is_finished or held != recipe):
            for folder in (self.model, self.checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
            for file in (self.metrics, self.history, self.predictions, self.report):
                file.unlink(missing_ok=True)
        write_recipe(self.recipe, recipe)
