"""Implement ``steradian transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steradian.cli import settings
from steradian.cli.output import bullets, fail_if, print_json
from steradian.cli.settings import changed_recipe, check_paths, list_of, numbers_in, training_options
from steradian.errors import UsageError
from steradian.waiting import waiting


def transfer(
    data: settings.Data,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Numbers of layers to transfer or to freeze (default: all).", metavar="1,2,…"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of runs, each with its own random halves.", min=1)] = 3,
    half: Annotated[
        list[str] | None,
        typer.Option(help="Names of the classes in one half (default: a random half).", metavar="A,B,…"),
    ] = None,
    other: Annotated[
        str | None, typer.Option(help="Data set of another domain; its classes form the other half.", metavar="DATA")
    ] = None,
    target_images: Annotated[
        int | None, typer.Option(help="Number of training images of the target half (default: all).", min=2)
    ] = None,
    freezing: Annotated[
        bool, typer.Option("--freezing", help="Find out which layers of the --weights to keep for these images.")
    ] = False,
    encoder: settings.Encoder = None,
    weights: settings.Weights = None,
    epochs: settings.Epochs = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/transfer-DATA).")] = None,
    root: settings.Root = None,
    image_size: settings.ImageSize = None,
    batch_size: settings.BatchSize = None,
    lr: settings.LearningRate = None,
    seed: settings.Seed = None,
    jobs: Annotated[int | None, typer.Option(help="Parallel networks (default: one per core).", min=1)] = None,
    setting: settings.Settings = None,
    exist_ok: settings.ExistOk = False,
    json: settings.Json = False,
) -> None:
    """Measure how general each layer is: transfer the first n layers from one half of the classes to the other.

    With --freezing the question is another one: which layers of a pretrained encoder to keep as they are.

    Run the same command again to resume with the networks that are missing. More --seeds or --layers add to the earlier
    results.

    Examples:

    \b
      steradian transfer cifar10 --seeds 3 --out runs/transfer
      steradian transfer cifar10 --half airplane,automobile,ship,truck
      steradian transfer photos/ --layers 2,4,6 --target-images 200
      steradian transfer photos/ --other drawings/
      steradian transfer photos/ --freezing --weights package --epochs 5
    """
    check_paths(data=data)
    with waiting("starting", quiet=json):
        from steradian.studies.study_folder import default_folder
        from steradian.studies.transferability import freezing as layers_to_keep
        from steradian.studies.transferability import transfer as study
        from steradian.studies.transferability.freezing_report import advice
        from steradian.studies.transferability.freezing_report import numbers_of as freezing_numbers
        from steradian.studies.transferability.report import findings, numbers_of, unfinished
        from steradian.training.recipe import Recipe

    options = training_options(root, image_size, encoder, weights, epochs, batch_size, lr, seed)
    options["data.source"] = data
    chosen = sorted(set(numbers_in("--layers", layers))) if layers is not None else None
    folder = out if out is not None else default_folder(data, "freezing-" if freezing else "transfer-")
    runs: dict[str, Any] = {"layers": chosen, "seeds": seeds, "out": folder, "jobs": jobs}
    runs |= {"exist_ok": exist_ok, "quiet": json}
    if freezing:
        for option, value in (("--half", half), ("--other", other), ("--target-images", target_images)):
            if value is not None:
                raise UsageError(f"{option} is for halves of the classes; with --freezing all classes are learned.")
        kept = layers_to_keep.study_freezing(changed_recipe(Recipe(), options, setting), **runs)
        bullets(kept.provenance["data"]["warnings"], "!")
        _finish(folder, freezing_numbers(kept), advice(kept), kept.failures, json)
        return
    if weights is not None:
        raise UsageError(
            f"--weights {weights}: transfer trains its own networks from scratch. To find out which layers of a "
            "pretrained encoder to keep, add --freezing."
        )
    recipe = changed_recipe(study.default_recipe(), options, setting)
    moved = study.transfer(recipe, half=list_of(half), other=other, target_images=target_images, **runs)
    bullets([*moved.provenance["data"]["warnings"], *unfinished(moved)], "!")
    lines = [f"{claim}\n  {verdict}" for claim, verdict in findings(moved)]
    _finish(folder, numbers_of(moved), lines, moved.failures, json)


def _finish(folder: Path, numbers: dict[str, Any], lines: list[str], failures: dict[str, str], json: bool) -> None:
    if json:
        print_json({**numbers, "report": str(folder / "report.html")})
    else:
        print("\n".join(lines))
        print(f"\nreport   {folder / 'report.html'}\nresults  {folder / 'results.csv'}")
    fail_if(failures)
