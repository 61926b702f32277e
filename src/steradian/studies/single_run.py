"""Train one recognizer from a recipe, measure it, and write its run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steradian.data.images import ImageSet
from steradian.data.sources import source_name
from steradian.errors import UsageError
from steradian.files import locked, new_folder, write_text
from steradian.invocation import command_line
from steradian.losses import preset
from steradian.models.calibration import Thresholds
from steradian.models.encoders import check_encoder
from steradian.models.fitted_calibration import fit_calibration, fit_strangers, fit_thresholds, pair_curve
from steradian.models.image_batch import images_at_once
from steradian.models.pretrained import check_weights
from steradian.models.readme import readme_text
from steradian.models.recognizer import Recognizer
from steradian.models.weight_packages import PACKAGED, PACKAGES, timm_name
from steradian.studies.evaluation.recalibration import fit_promises
from steradian.studies.evaluation.report import readme_numbers, write_evaluation
from steradian.studies.evaluation.run import EvaluationResult, evaluate_run, with_adaptation
from steradian.studies.fine_tuning import fine_tune
from steradian.studies.study_folder import default_folder
from steradian.training.adaptation.adapt import Adaptation
from steradian.training.dataset import Dataset, TrainingData
from steradian.training.distributed import barrier, is_rank_zero, world_size
from steradian.training.plan import TrainingPlan, make_plan, one_batch
from steradian.training.preflight import preflight
from steradian.training.progress import Progress, progress_unless
from steradian.training.recipe import Recipe
from steradian.training.run import TrainingResult, begin_again
from steradian.training.run import train as follow
from steradian.training.run_folder import RunFolder
from steradian.waiting import waiting

MOST_LOGITS = 50_000_000
"""Largest number of logits to calibrate on; more images are sampled down to it."""


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model and, if there were test images, its metrics.

    Attributes:
        folder: where everything is.
        training: history and cost.
        evaluation: None where there were no test images.
        warnings: warnings about the data and the length of training.
    """

    folder: RunFolder
    training: TrainingResult
    evaluation: EvaluationResult | None
    warnings: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The report, an HTML file; there is none where there were no test images."""
        return self.folder.report

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers of the report, nested by protocol; empty where there were no test images."""
        return self.evaluation.metrics.numbers if self.evaluation is not None else {}

    def __fspath__(self) -> str:
        """Return the folder, so that a run is taken wherever a run folder is."""
        return str(self.folder.path)

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r}: {self.model!r})"

    def _repr_html_(self) -> str:
        if self.evaluation is None:
            return self.model._repr_html_()
        return self.evaluation._repr_html_()

    @property
    def model(self) -> Recognizer:
        """The trained recognizer."""
        return self.training.model


def train(
    source: str | Path | ImageSet | Recipe,
    out: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    exist_ok: bool = False,
    quiet: bool = False,
) -> Run:
    """Train one recognizer into a run folder, measure it and write its report; an unfinished run goes on.

    The defaults are those of the command ``steradian train``.

    >>> run = st.train("photos/", settings={"loss.name": "cosface", "training.epochs": 5})  # doctest: +SKIP
    >>> run.model.classify("cat.jpg")  # doctest: +SKIP

    Args:
        source: images (a built-in name, folder or file, or what `steradian.data.open` made of it), or a recipe.
        settings: settings of the recipe by dotted name, as ``--set`` of the command takes them.
        out: the run folder; None: ``runs/NAME``.
        exist_ok: train again in a folder that holds another or a finished run.
        quiet: show no progress.

    Raises:
        UsageError: ``out`` holds another or a finished run, or other files, and ``exist_ok`` is false.
    """
    recipe = source if isinstance(source, Recipe) else Recipe().changed(**{"data.source": source_name(source)})
    recipe = recipe.changed(**(settings or {}))
    check_names(recipe)
    folder = RunFolder(Path(out) if out is not None else default_folder(recipe.data.source))
    dataset = Dataset.open(recipe).with_adaptation()
    if not is_rank_zero():
        return _train_other_rank(dataset, folder)
    folder.check(dataset.recipe, exist_ok=exist_ok)
    plan = make_plan(dataset.recipe, dataset.decode(progress_unless(quiet)))
    preflight(plan)
    new_folder(folder.path, exist_ok=True)
    with locked(folder.path):
        folder.claim(plan.recipe)
        if exist_ok:
            begin_again(plan, folder)
        barrier()
        if not quiet and dataset.encoder_choice:
            Progress(0, "training").note(dataset.encoder_choice)
        return _train_into(plan, folder, quiet)


def _train_other_rank(dataset: Dataset, folder: RunFolder) -> Run:
    """Do the part of a process that is not rank zero: it trains along, and writes only its part of checkpoints."""
    plan = make_plan(dataset.recipe, dataset.decode())
    preflight(plan)
    barrier()
    return Run(folder, follow(plan, folder), None, ())


def check_names(recipe: Recipe) -> None:
    """Raise `UsageError` for an unknown loss or encoder, before any data is read."""
    preset(recipe.loss.name)
    encoder = timm_name(recipe.encoder) if recipe.encoder is not None else None
    weights = recipe.weights or ("package" if recipe.encoder in PACKAGES else None)
    if encoder is not None:
        check_encoder(encoder)
    if weights is not None:
        if encoder is None and weights != "package":
            raise UsageError(f"--weights {weights} needs --encoder: name the encoder that they belong to.")
        check_weights(encoder or PACKAGED, weights)


def dry_run(recipe: Recipe) -> Run:
    """Pass one batch through every stage, in a folder that is gone afterwards."""
    check_names(recipe)
    if world_size() > 1:
        raise UsageError("A dry run is for one process: start it without torchrun.")
    dataset = Dataset.open(recipe).with_adaptation()
    plan = make_plan(*one_batch(dataset.recipe, dataset.decode()))
    with tempfile.TemporaryDirectory(prefix="steradian-") as scratch:
        return _train_into(plan, RunFolder(Path(scratch)), quiet=True)


def _train_into(plan: TrainingPlan, folder: RunFolder, quiet: bool) -> Run:
    caching = progress_unless(quiet)
    with Progress(0, "training", quiet=quiet) as progress:
        trained = follow(plan, folder, on_batch=progress.at, on_plan=None if quiet else progress.note, progress=caching)
        tuning = None
        if plan.recipe.adapt == "full":
            trained, tuning = fine_tune(
                plan,
                trained,
                plan.recipe.budget,
                note=(lambda text: None) if quiet else progress.note,
                on_batch=progress.at,
                progress=caching,
            )
        if trained.spent and not quiet:
            progress.note(trained.spent)
    origin = plan.provenance(command_line())
    with waiting("calibrating", quiet):
        if trained.adaptation is not None:
            _calibrate_by_folds(trained.model, trained.adaptation)
        else:
            _calibrate(trained.model, plan.data)
    model = trained.save(folder, origin)
    if len(plan.data.splits.test) == 0:
        folder.finish({"provenance": origin})
        return Run(folder, trained, None, plan.all_warnings)
    evaluation = evaluate_run(model, plan.data, features=trained.features, progress=caching)
    evaluation = with_adaptation(evaluation, trained.adaptation, tuning)
    if model.manifest is not None:
        write_text(folder.readme, readme_text(model.manifest, readme_numbers(evaluation)))
    with waiting("writing the report", quiet):
        write_evaluation(evaluation, folder.path, trained.history)
    return Run(folder, trained, evaluation, plan.all_warnings)


def _calibrate(model: Recognizer, data: TrainingData) -> None:
    """Fit calibration and thresholds of ``model`` on the calibration part of its data, if that has any images."""
    chosen = data.splits.calibration
    most = max(1, MOST_LOGITS // len(model.spec.classes))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, most, replace=False))
    if len(chosen) == 0:
        return
    model.accelerate_for(len(chosen))
    at_once = 8 * images_at_once(model.preprocessing.size)
    blocks = list(data.pixels.blocks(chosen, at_once))
    chosen = np.concatenate([block for block, _ in blocks])
    raw = np.concatenate([model.raw_embeddings(torch.from_numpy(np.array(images))).numpy() for _, images in blocks])
    described = f"{len(chosen)} images of trained classes, held out for calibration"
    fit_promises(model, raw, data.pixels.labels[chosen], described)


def _calibrate_by_folds(model: Recognizer, adaptation: Adaptation) -> None:
    """Fit calibration on images whose group was not fitted on, and thresholds on classes that were not.

    Where there are too few classes to leave some out, thresholds are of images of trained classes.
    """
    unseen, held_out = adaptation.embedding.folds, adaptation.held_out
    pairs = [(fold.vectors, fold.labels) for fold in unseen] or [(fold.raw, fold.labels) for fold in held_out]
    images = sum(len(labels) for _, labels in pairs)
    of = "classes that were left out of the fit" if unseen else "trained classes, left out of the fit"
    model.thresholds = Thresholds(fit_thresholds(pairs, f"{images} images of {of}"))
    if unseen:
        model.strangers = fit_strangers(pairs, f"{images} images of {of}")
    if held_out:
        logits, cosine, labels = (
            np.concatenate([getattr(fold, name) for fold in held_out]) for name in ("logits", "cosine", "labels")
        )
        described = f"{len(labels)} images whose group was left out of the fit"
        model.calibration = fit_calibration(logits, cosine, labels, pair_curve(pairs), described)
