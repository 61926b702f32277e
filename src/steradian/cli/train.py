"""Implement ``steradian train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steradian.cli import completion, settings
from steradian.cli.output import bullets, columns, print_json, print_next, print_verdict, say
from steradian.cli.settings import changed_recipe, check_paths, training_options
from steradian.waiting import waiting


def train(
    source: Annotated[
        str,
        typer.Argument(
            help="Built-in name, folder, .zip, .tar, .npz, .csv, .parquet, or a recipe (.yaml).",
            metavar="DATA|RECIPE",
            autocompletion=completion.data_names,
        ),
    ],
    loss: Annotated[
        str | None,
        typer.Option(help="Loss; see 'steradian losses'.", metavar="NAME", autocompletion=completion.loss_names),
    ] = None,
    encoder: settings.Encoder = None,
    weights: settings.Weights = None,
    adapt: Annotated[
        Literal["auto", "full", "train"] | None,
        typer.Option(
            help="auto: fit on frozen pretrained features in closed form, chosen by cross-validation; full: also tune "
            "the encoder, and keep that where it pays; train: learn by the loss (default: auto where weights are there "
            "and no training option is given)."
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Minutes for tuning the encoder (--adapt full).", metavar="MINUTES")
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Freeze the encoder's first N layers: a number, all, or auto.", metavar="N")
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="Augmented views per image in a batch, each harder than the one before.", min=1)
    ] = None,
    embedding_size: Annotated[int | None, typer.Option(help="Dimensions of the embedding.", min=1)] = None,
    epochs: settings.Epochs = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/DATA).")] = None,
    root: settings.Root = None,
    image_size: settings.ImageSize = None,
    batch_size: settings.BatchSize = None,
    lr: settings.LearningRate = None,
    seed: settings.Seed = None,
    skip_missing: settings.SkipMissing = False,
    setting: settings.Settings = None,
    exist_ok: settings.ExistOk = False,
    dry_run: settings.DryRun = False,
    everything: settings.All = False,
    json: settings.Json = False,
) -> None:
    """Train a recognizer, measure it on held-out test images and save it.

    Run the same command again to resume an interrupted run.

    Examples:

    \b
      steradian train digits --out runs/digits
      steradian train photos/
      steradian train photos/ --budget 30
      steradian train photos/ --loss cosface --embedding-size 128
      steradian train photos/ --weights package --adapt train --freeze auto
      steradian train recipe.yaml --set training.seed=1
      torchrun --nproc-per-node 2 -m steradian train faces/
    """
    check_paths(data=source)
    _check_extras(encoder, setting)
    with waiting("starting", quiet=json):
        from steradian.studies import single_run
        from steradian.studies.evaluation.report import headlines_in_words
        from steradian.studies.evaluation.verdict import verdict_of
        from steradian.training.distributed import is_rank_zero, process_group
        from steradian.training.recipe import Recipe, read_recipe

    is_recipe = Path(source).suffix.lower() in settings.RECIPES
    options = {
        "data.source": None if is_recipe else source,
        "embedding_size": embedding_size,
        "loss.name": loss,
        "adapt": adapt,
        "budget": budget,
        "training.freeze": int(freeze) if freeze is not None and freeze.isdecimal() else freeze,
        "progressive.views": views,
        **training_options(root, image_size, encoder, weights, epochs, batch_size, lr, seed, skip_missing),
    }
    recipe = changed_recipe(read_recipe(Path(source)) if is_recipe else Recipe(), options, setting)
    if dry_run:
        with process_group():
            single_run.dry_run(recipe)
        print_json({"dry_run": True}) if json else print(
            "Dry run passed: one batch through every stage. Nothing was saved."
        )
        return
    with process_group():
        run = single_run.train(recipe, out, exist_ok=exist_ok, quiet=json)
        if not is_rank_zero():
            return
    bullets(run.warnings, "!")
    if json:
        numbers: dict[str, Any] = run.evaluation.metrics.numbers if run.evaluation is not None else {}
        warnings = list(run.warnings)
        print_json({"run": str(run.folder.path), "model": run.model.model_id, "warnings": warnings, **numbers})
        return
    if run.evaluation is not None:
        print_verdict(verdict_of(run.evaluation.metrics.numbers))
        if everything:
            print(f"\n{columns(headlines_in_words(run.evaluation))}")
            bullets(run.evaluation.notes, "note:")
        print(f"\nreport  {run.folder.report}")
    else:
        say("The data has no test images, so nothing was measured. Add pictures: about ten of each kind or more.")
    print(f"model   {run.folder.model}")
    print_next(f"steradian classify {run.folder.path} PICTURE", f"steradian enroll {run.folder.path} FOLDER")


def _check_extras(encoder: str | None, setting: list[str] | None) -> None:
    """Raise `UsageError` for a package that these options need and that is not installed."""
    from steradian.extras import require

    if encoder == "lite2":
        require("weights", "The encoder lite2")
    if any(text.replace(" ", "").startswith("training.tensorboard=") for text in setting or ()):
        require("track", "training.tensorboard")
