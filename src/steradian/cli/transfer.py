"""Implement ``steradian transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.cli.output import bullets, command_line, default_folder, print_json, say
from steradian.cli.settings import (
    BatchSize,
    Data,
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
from steradian.errors import UsageError

if TYPE_CHECKING:
    from steradian.training.recipe import Recipe


def transfer(
    data: Data,
    layers: Annotated[
        str | None, typer.Option(help="Numbers of layers to transfer or to freeze (default: all).", metavar="1,2,…")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of runs, each with its own random halves.", min=1)] = 3,
    half: Annotated[
        str | None, typer.Option(help="Names of the classes in one half (default: a random half).", metavar="A,B,…")
    ] = None,
    other: Annotated[
        str | None, typer.Option(help="Data set of another domain; its classes form the other half.", metavar="DATA")
    ] = None,
    target_images: Annotated[
        int | None, typer.Option(help="Number of training images of the target half (default: all).", min=2)
    ] = None,
    encoder: Encoder = None,
    weights: Weights = None,
    epochs: Epochs = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/transfer-DATA).")] = None,
    root: Root = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = None,
    jobs: Annotated[int | None, typer.Option(help="Parallel networks (default: one per core).", min=1)] = None,
    setting: Settings = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure how general each layer is: transfer the first n layers from one half of the classes to the other.

    With --weights, measure instead which layers of that pretrained encoder to freeze for these images.

    Run the same command again to resume with the networks that are missing. More --seeds or --layers add to the earlier
    results.

    Examples:

    \b
      steradian transfer cifar10 --seeds 3 --out runs/transfer
      steradian transfer cifar10 --half airplane,automobile,ship,truck
      steradian transfer photos/ --layers 2,4,6 --target-images 200
      steradian transfer photos/ --other drawings/
      steradian transfer photos/ --weights package --epochs 5
    """
    from steradian.studies import transferability as study
    from steradian.studies.transferability.report import build_report, findings, numbers_of, unfinished
    from steradian.training.progress import shown
    from steradian.training.recipe import Recipe

    options = {
        "data.source": data,
        "data.root": root,
        "data.image_size": image_size,
        "encoder": encoder,
        "weights": weights,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": lr,
        "training.seed": seed,
    }
    layer_numbers = _parse_layers(layers)
    if weights is not None:
        for option, value in (("--half", half), ("--other", other), ("--target-images", target_images)):
            if value is not None:
                raise UsageError(f"{option} cannot be combined with --weights, which uses all classes. Remove either.")
        recipe = changed_recipe(Recipe(), options, setting)
        _study_freezing_layers(recipe, data, out, layer_numbers, seeds, jobs, exist_ok, json)
        return
    names = tuple(part.strip() for part in (half or "").split(",") if part.strip())
    recipe = changed_recipe(study.default_recipe(), options, setting)
    plan = study.Transfer(recipe, layer_numbers, seeds, names, other, target_images)
    folder = out if out is not None else default_folder(data, "transfer-")
    result = study.transfer(
        plan, folder, command=command_line(), jobs=jobs, exist_ok=exist_ok, quiet=json, decoding=shown
    )
    lines = [f"{claim}\n  {verdict}" for claim, verdict in findings(result)]
    bullets(unfinished(result), "!")
    _write_results(folder, build_report(result).html(), numbers_of(result), lines, result.failures, json)


def _study_freezing_layers(
    recipe: Recipe,
    data: str,
    out: Path | None,
    layers: tuple[int, ...] | None,
    seeds: int,
    jobs: int | None,
    exist_ok: bool,
    json: bool,
) -> None:
    from steradian.studies.transferability.freezing import study_freezing
    from steradian.studies.transferability.freezing_report import advice, build_report, numbers_of
    from steradian.training.dataset import settled
    from steradian.training.progress import shown

    folder = out if out is not None else default_folder(data, "freezing-")
    result = study_freezing(
        settled(recipe),
        folder,
        command=command_line(),
        layers=layers,
        seeds=seeds,
        jobs=jobs,
        exist_ok=exist_ok,
        quiet=json,
        decoding=shown,
    )
    _write_results(folder, build_report(result).html(), numbers_of(result), advice(result), result.failures, json)


def _write_results(
    folder: Path, page: str, numbers: dict[str, Any], lines: list[str], failures: dict[str, str], json: bool
) -> None:
    from steradian.files import write_json, write_text

    write_text(folder / "report.html", page)
    write_json(folder / "metrics.json", numbers)
    if json:
        print_json({**numbers, "report": str(folder / "report.html")})
    else:
        print("\n".join(lines))
        print(f"\nreport   {folder / 'report.html'}\nresults  {folder / 'results.csv'}")
    for name, reason in failures.items():
        say(f"Error: {name} failed: {reason}")
    if failures:
        raise typer.Exit(1)


def _parse_layers(layers: str | None) -> tuple[int, ...] | None:
    if layers is None:
        return None
    try:
        return tuple(sorted({int(part) for part in layers.split(",") if part.strip()}))
    except ValueError as error:
        raise UsageError(f"--layers {layers}: expected whole numbers separated by commas, such as 1,3,5.") from error
