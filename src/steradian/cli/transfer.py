"""``steradian transfer``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, command_line, default_folder, print_json, say
from steradian.cli.settings import BatchSize, Epochs, ExistOk, Json, LearningRate, Root, Seed, Settings, changed_recipe


def transfer(
    data: Annotated[str, typer.Argument(help="Built-in name, folder, .zip, .npz or .csv.", metavar="DATA")],
    layers: Annotated[str, typer.Option(help="Numbers of layers to move.", metavar="1,2,…")] = "1,2,3,4,5,6,7",
    seeds: Annotated[int, typer.Option(help="Runs, each with halves of its own.", min=1)] = 3,
    half: Annotated[
        str | None, typer.Option(help="Classes of one half by name (default: a random half).", metavar="A,B,…")
    ] = None,
    target_images: Annotated[
        int | None, typer.Option(help="Training images that a target has (default: all).", min=2)
    ] = None,
    epochs: Epochs = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: runs/transfer-DATA).")] = None,
    root: Root = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = None,
    jobs: Annotated[int | None, typer.Option(help="Networks at once (default: one per core).", min=1)] = None,
    setting: Settings = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure how general each layer is: move the first n layers from one half of the classes to the other.

    The same command again goes on where it was stopped, network by network, and more --seeds or --layers add to what
    is there.

    Examples:

    \b
      steradian transfer cifar10 --seeds 3 --out runs/transfer
      steradian transfer cifar10 --half airplane,automobile,ship,truck
      steradian transfer photos/ --layers 2,4,6 --target-images 200
    """
    from steradian.errors import UsageError
    from steradian.files import write_json, write_text
    from steradian.studies import transferability as study
    from steradian.studies.transfer_report import build_report, findings, numbers_of, unfinished
    from steradian.training.progress import shown

    try:
        numbers = tuple(sorted({int(part) for part in layers.split(",") if part.strip()}))
    except ValueError as error:
        raise UsageError(f"--layers {layers}: expected whole numbers separated by commas, such as 1,3,5.") from error
    if not numbers or not set(numbers) <= set(study.LAYERS):
        raise UsageError(f"--layers {layers}: the network has 8 layers, of which 1 to 7 can be moved.")
    given = {
        "data.source": data,
        "data.root": root,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": lr,
        "training.seed": seed,
    }
    recipe = changed_recipe(study.default_recipe(), given, setting)
    names = tuple(part.strip() for part in (half or "").split(",") if part.strip())
    wanted = study.Transfer(recipe, numbers, seeds, names, target_images)
    folder = out if out is not None else default_folder(data, "transfer-")
    found = study.transfer(
        wanted, folder, command=command_line(), jobs=jobs, exist_ok=exist_ok, quiet=json, decoding=shown
    )
    write_text(folder / "report.html", build_report(found).html())
    write_json(folder / "metrics.json", numbers_of(found))
    bullets(unfinished(found), "!")
    if json:
        print_json({**numbers_of(found), "report": str(folder / "report.html")})
    else:
        for claim, verdict in findings(found):
            print(f"{claim}\n  {verdict}")
        print(f"\nreport   {folder / 'report.html'}\nresults  {folder / 'results.csv'}")
    if found.failures:
        for name, why in found.failures.items():
            say(f"Error: {name} failed: {why}")
        raise typer.Exit(1)
