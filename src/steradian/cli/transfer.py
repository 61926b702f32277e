"""``steradian transfer``"""

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
        str | None, typer.Option(help="Numbers of layers to move, or to keep (default: all).", metavar="1,2,…")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs, each with halves of its own.", min=1)] = 3,
    half: Annotated[
        str | None, typer.Option(help="Classes of one half by name (default: a random half).", metavar="A,B,…")
    ] = None,
    other: Annotated[
        str | None, typer.Option(help="Images of another domain: their classes are the other half.", metavar="DATA")
    ] = None,
    target_images: Annotated[
        int | None, typer.Option(help="Training images that a target has (default: all).", min=2)
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
    jobs: Annotated[int | None, typer.Option(help="Networks at once (default: one per core).", min=1)] = None,
    setting: Settings = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure how general each layer is: move the first n layers from one half of the classes to the other.

    With --weights the question is which layers of that pretrained encoder to keep as they are for these images.

    The same command again goes on where it was stopped, network by network, and more --seeds or --layers add to what
    is there.

    Examples:

    \b
      steradian transfer cifar10 --seeds 3 --out runs/transfer
      steradian transfer cifar10 --half airplane,automobile,ship,truck
      steradian transfer photos/ --layers 2,4,6 --target-images 200
      steradian transfer photos/ --other drawings/
      steradian transfer photos/ --weights package --epochs 5
    """
    from steradian.studies import transferability as study
    from steradian.studies.transfer_report import build_report, findings, numbers_of, unfinished
    from steradian.training.progress import shown
    from steradian.training.recipe import Recipe

    given = {
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
    numbers = _numbers(layers)
    if weights is not None:
        for option, value in (("--half", half), ("--other", other), ("--target-images", target_images)):
            if value is not None:
                raise UsageError(f"{option} is for halves of the classes; with --weights all classes are learned.")
        recipe = changed_recipe(Recipe(), given, setting)
        _freezing(recipe, data, out, numbers, seeds, jobs, exist_ok, json)
        return
    names = tuple(part.strip() for part in (half or "").split(",") if part.strip())
    recipe = changed_recipe(study.default_recipe(), given, setting)
    wanted = study.Transfer(recipe, numbers, seeds, names, other, target_images)
    folder = out if out is not None else default_folder(data, "transfer-")
    found = study.transfer(
        wanted, folder, command=command_line(), jobs=jobs, exist_ok=exist_ok, quiet=json, decoding=shown
    )
    lines = [f"{claim}\n  {verdict}" for claim, verdict in findings(found)]
    bullets(unfinished(found), "!")
    _finish(folder, build_report(found).html(), numbers_of(found), lines, found.failures, json)


def _freezing(
    recipe: Recipe,
    data: str,
    out: Path | None,
    layers: tuple[int, ...] | None,
    seeds: int,
    jobs: int | None,
    exist_ok: bool,
    json: bool,
) -> None:
    from steradian.studies.freezing import study_freezing
    from steradian.studies.freezing_report import advice, build_report, numbers_of
    from steradian.training.prepared import settled
    from steradian.training.progress import shown

    folder = out if out is not None else default_folder(data, "freezing-")
    found = study_freezing(
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
    _finish(folder, build_report(found).html(), numbers_of(found), advice(found), found.failures, json)


def _finish(
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
    for name, why in failures.items():
        say(f"Error: {name} failed: {why}")
    if failures:
        raise typer.Exit(1)


def _numbers(layers: str | None) -> tuple[int, ...] | None:
    if layers is None:
        return None
    try:
        return tuple(sorted({int(part) for part in layers.split(",") if part.strip()}))
    except ValueError as error:
        raise UsageError(f"--layers {layers}: expected whole numbers separated by commas, such as 1,3,5.") from error
