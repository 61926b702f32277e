"""Implement ``steradian compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steradian.cli.output import bullets, columns, default_folder, fail_if, print_json
from steradian.cli.settings import (
    BatchSize,
    Data,
    DryRun,
    Encoder,
    Epochs,
    ExistOk,
    ImageSize,
    Json,
    LearningRate,
    Root,
    Seed,
    Settings,
    Weights,
    changed_recipe,
    list_of,
    numbers_in,
)

if TYPE_CHECKING:
    from steradian.studies.comparison.result import ComparisonResult


def compare(
    data: Data,
    losses: Annotated[
        list[str] | None, typer.Option(help="Techniques; repeat the option or separate by commas.", metavar="A,B,…")
    ] = None,
    dims: Annotated[
        list[str] | None,
        typer.Option(help="Embedding sizes (default: 2,3); repeat the option or separate by commas.", metavar="2,3"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of runs (seeds) of each loss.", min=1)] = 1,
    unseen: Annotated[
        float | None,
        typer.Option(help="Share of the classes held out of training, to measure verification on.", min=0.0, max=0.99),
    ] = None,
    tune: Annotated[
        int, typer.Option(help="Trials to tune each loss's margin and scale on the validation images; 0: none.", min=0)
    ] = 0,
    epochs: Epochs = None,
    encoder: Encoder = None,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/compare-DATA).")] = None,
    root: Root = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = None,
    jobs: Annotated[int | None, typer.Option(help="Parallel runs (default: one per core on a CPU).", min=1)] = None,
    setting: Settings = None,
    exist_ok: ExistOk = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Compare losses: train each on the same images with the same budget, and write one report.

    Run the same command again to resume. More --seeds, --losses or --dims add to the earlier results.

    Examples:

    \b
      steradian compare digits
      steradian compare mnist --seeds 3 --losses softmax,arcface
      steradian compare photos/ --dims 2,3,16 --out runs/photos
      steradian compare photos/ --dims 64 --unseen 0.3 --tune 10 --seeds 3
    """
    from steradian.errors import UsageError
    from steradian.losses import preset
    from steradian.studies.comparison import compare as study
    from steradian.studies.comparison.comparison import TECHNIQUES, Comparison
    from steradian.studies.comparison.result import rows
    from steradian.training.progress import shown

    # An alias and its name are one technique.
    names = tuple(dict.fromkeys(preset(name).name for name in list_of(losses) or TECHNIQUES))
    sizes = tuple(dict.fromkeys(numbers_in("--dims", dims or ["2,3"])))
    for setting_text in setting or ():
        if setting_text.partition("=")[0].strip() in ("embedding_size", "loss.name"):
            raise UsageError(
                f"--set {setting_text}: compare takes its techniques from --losses and its dimensions from --dims."
            )
    options = {
        "data.root": root,
        "data.unseen": unseen,
        "data.image_size": image_size,
        "encoder": encoder,
        "weights": weights,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": lr,
        "training.seed": seed,
    }
    recipe = changed_recipe(study.shared_recipe(data), options, setting)
    if dry_run:
        cells = study.dry_run(Comparison(recipe, names, sizes, seeds, tune))
        print_json({"dry_run": cells}) if json else print(f"Dry run passed: {', '.join(cells)}. Nothing was saved.")
        return
    folder = out if out is not None else default_folder(data, "compare-")
    result = study.compare(
        recipe,
        losses=names,
        dims=sizes,
        seeds=seeds,
        trials=tune,
        out=folder,
        jobs=jobs,
        exist_ok=exist_ok,
        quiet=json,
        decoding=shown,
    )
    bullets(result.warnings, "!")
    if json:
        print_json(
            {
                "report": str(folder / "report.html"),
                "results": str(folder / "results.csv"),
                "cells": rows(result),
                "failures": result.failures,
            }
        )
    else:
        print(_summary(result))
        print(f"\nreport   {folder / 'report.html'}\nresults  {folder / 'results.csv'}")
    fail_if(result.failures)


def _summary(result: ComparisonResult) -> str:
    from steradian.studies.comparison.summary import summary_rows

    return columns(summary_rows(result), ("technique", "dims", "k-means", "accuracy", "5-NN", "EER", "s/epoch"))
