"""Implement ``steradian compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, columns, command_line, default_folder, print_json, say
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
)


def compare(
    data: Data,
    losses: Annotated[str | None, typer.Option(help="Losses to compare, separated by commas.", metavar="A,B,…")] = None,
    dims: Annotated[str, typer.Option(help="Embedding sizes, separated by commas.", metavar="2,3")] = "2,3",
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
    from steradian.files import write_text
    from steradian.losses import preset
    from steradian.studies import compare as study
    from steradian.studies.comparison.report import build_report
    from steradian.training.progress import shown
    from steradian.training.recipe import Recipe

    try:
        sizes = tuple(dict.fromkeys(int(part) for part in dims.split(",") if part.strip()))
    except ValueError as error:
        raise UsageError(f"--dims {dims}: expected whole numbers separated by commas, such as 2,3.") from error
    requested = [part.strip() for part in losses.split(",") if part.strip()] if losses else study.TECHNIQUES
    # An alias counts as the loss that it names.
    names = tuple(dict.fromkeys(preset(name).name for name in requested))
    for setting_text in setting or ():
        if setting_text.partition("=")[0].strip() in ("embedding_size", "loss.name"):
            raise UsageError(
                f"--set {setting_text}: in compare, choose losses with --losses and embedding sizes with --dims."
            )
    options = {
        "data.source": data,
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
    # A comparison calibrates no model, so the calibration images are used for training.
    recipe = changed_recipe(Recipe().changed(**{"data.calibration": 0.0}), options, setting)
    comparison = study.Comparison(recipe, names, sizes, seeds, tune)
    if dry_run:
        cells = study.dry_run(comparison, command_line())
        print_json({"dry_run": cells}) if json else print(f"Dry run passed: {', '.join(cells)}. Nothing was saved.")
        return
    folder = out if out is not None else default_folder(data, "compare-")
    result = study.compare(
        comparison, folder, command=command_line(), jobs=jobs, exist_ok=exist_ok, quiet=json, decoding=shown
    )
    write_text(folder / "report.html", build_report(result).html())
    bullets(result.warnings, "!")
    if json:
        print_json(
            {
                "report": str(folder / "report.html"),
                "results": str(folder / "results.csv"),
                "cells": study.rows(result),
                "failures": result.failures,
            }
        )
    else:
        print(_summary(result))
        print(f"\nreport   {folder / 'report.html'}\nresults  {folder / 'results.csv'}")
    if result.failures:
        for name, reason in result.failures.items():
            say(f"Error: {name} failed: {reason}")
        raise typer.Exit(1)


def _summary(result: object) -> str:
    from steradian.studies.comparison.compare import ComparisonResult
    from steradian.studies.comparison.summary import summary_rows

    if not isinstance(result, ComparisonResult):
        raise TypeError(f"expected the result of a comparison, but got {type(result).__name__}.")
    return columns(summary_rows(result), ("technique", "dims", "k-means", "accuracy", "5-NN", "EER", "s/epoch"))
