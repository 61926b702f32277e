"""Implement ``steradian compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli import completion, settings
from steradian.cli.output import bold, bullets, columns, fail_if, print_json, print_next, wrapped
from steradian.cli.settings import changed_recipe, check_paths, list_of, numbers_in, training_options
from steradian.waiting import waiting


def compare(
    data: settings.Data,
    losses: Annotated[
        list[str] | None,
        typer.Option(
            help="Techniques; repeat the option or separate by commas.",
            metavar="A,B,…",
            autocompletion=completion.loss_names,
        ),
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
    epochs: settings.Epochs = None,
    encoder: settings.Encoder = None,
    weights: settings.Weights = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/compare-DATA).")] = None,
    root: settings.Root = None,
    image_size: settings.ImageSize = None,
    batch_size: settings.BatchSize = None,
    lr: settings.LearningRate = None,
    seed: settings.Seed = None,
    skip_missing: settings.SkipMissing = False,
    jobs: Annotated[int | None, typer.Option(help="Parallel runs (default: one per core on a CPU).", min=1)] = None,
    setting: settings.Settings = None,
    exist_ok: settings.ExistOk = False,
    dry_run: settings.DryRun = False,
    everything: settings.All = False,
    json: settings.Json = False,
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
    check_paths(data=data)
    from steradian.errors import UsageError
    from steradian.extras import require

    if tune:
        require("tune", "Tuning")
    with waiting("starting", quiet=json):
        from steradian.losses import preset
        from steradian.studies.comparison import compare as study
        from steradian.studies.comparison.result import TECHNIQUES, Comparison, rows, summary_rows
        from steradian.studies.comparison.verdict import headings, ranked, verdict_of
        from steradian.studies.study_folder import default_folder

    # An alias and its name are one technique.
    names = tuple(dict.fromkeys(preset(name).name for name in list_of(losses) or TECHNIQUES))
    sizes = tuple(dict.fromkeys(numbers_in("--dims", dims or ["2,3"])))
    for text in setting or ():
        if text.partition("=")[0].strip() in ("embedding_size", "loss.name"):
            raise UsageError(
                f"--set {text}: compare takes its techniques from --losses and its dimensions from --dims."
            )
    options = training_options(root, image_size, encoder, weights, epochs, batch_size, lr, seed, skip_missing)
    recipe = changed_recipe(study.shared_recipe(data), {"data.unseen": unseen, **options}, setting)
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
    )
    bullets(result.warnings, "!")
    if json:
        files = {"report": str(folder / "report.html"), "results": str(folder / "results.csv")}
        warnings = list(result.warnings)
        print_json({**files, "cells": rows(result), "failures": result.failures, "warnings": warnings})
    else:
        verdict = verdict_of(result)
        print(bold(wrapped(verdict.sentence)))
        print(f"\n{columns([row.cells() for row in ranked(result)], headings(result))}\n")
        if verdict.advice:
            print(wrapped(verdict.advice))
        if everything:
            heads = ("technique", "dims", "k-means", "accuracy", "5-NN", "EER", "s/epoch")
            print(f"\n{columns(summary_rows(result), heads)}")
        print(f"\nreport   {folder / 'report.html'}\nresults  {folder / 'results.csv'}")
        if data == "digits":
            print_next("steradian data sample --copy-to photos/", "steradian train photos/")
        else:
            print_next(f"steradian train {data}")
    fail_if(result.failures)
