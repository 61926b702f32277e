"""Define options that several commands share, and turn them into a recipe or the path of a gallery."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.cli import completion
from steradian.errors import UsageError

if TYPE_CHECKING:
    from steradian.training.recipe import Recipe

Data = Annotated[
    str,
    typer.Argument(
        help="Built-in name, folder, .zip, .tar, .npz, .csv or .parquet.",
        metavar="DATA",
        autocompletion=completion.data_names,
    ),
]
Root = Annotated[str | None, typer.Option(help="Folder with the files of a built-in data set.", metavar="DIR")]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="'lite0' (default for photographs), 'lite2', 'residual-wide' (for drawings), 'small', or any timm name.",
        metavar="NAME",
        autocompletion=completion.encoder_names,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Pretrained encoder: 'package', 'hub', a .safetensors or .pth file, or a model folder.",
        metavar="ORIGIN",
        autocompletion=completion.weight_origins,
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Number of passes over the training images.", min=1)]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Pixels per side (default: native, at most 64; pretrained: as in pretraining).", min=4, max=1024),
]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.", min=2)]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
Seed = Annotated[int | None, typer.Option(help="Random seed; with several runs, the first of their seeds.", min=0)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change any recipe setting, such as training.clip=1. Repeatable.", metavar="KEY=VALUE"),
]
Run = Annotated[
    str,
    typer.Argument(
        help="Run or model folder, or a built-in model: 'general' for photographs, 'glyphs' for drawn symbols, 'faces' "
        "for people in photos.",
        metavar="RUN",
        autocompletion=completion.model_names,
    ),
]
GalleryFile = Annotated[
    Path | None, typer.Option(help="Gallery file (default: RUN/gallery.db), or milvus:HOST:PORT/NAME.", metavar="FILE")
]
Far = Annotated[
    float | None,
    typer.Option(help="False-accept rate of pairs of images, instead of --strangers."),
]
Strangers = Annotated[
    float | None,
    typer.Option(
        help="Share of strangers that may be given any name in this gallery; sets the threshold (default: 0.01)."
    ),
]
Images = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE…")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ExistOk = Annotated[bool, typer.Option("--exist-ok", help="Write into a folder even if it has other files in it.")]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out rows of a table that name files that do not exist.")
]
All = Annotated[bool, typer.Option("--all", help="Print every number.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Run one batch through every stage and save nothing.")]

NAME = "gallery.db"

RECIPES = (".yaml", ".yml")
"""Suffixes of a recipe."""


def check_paths(
    run: str | Path | None = None,
    data: str | None = None,
    images: Sequence[Path] = (),
    table: Path | None = None,
) -> None:
    """Raise `UsageError` for a model, data, images or a table that do not exist, or that need a package not installed.

    It comes before torch is imported, which takes seconds: a missing path is the most frequent mistake, and its error
    should not be waited for.
    """
    from steradian.extras import require

    for source in (data, table):
        if source is not None and _is_parquet(Path(source)):
            require("data", "Reading parquet")
    if str(run) == "lite2":
        require("weights", "The encoder lite2")
    if table is not None and not table.exists():
        raise UsageError(f"{table} does not exist: check the spelling.")
    if run is not None:
        from steradian.models.locations import check_location

        check_location(run)
    if data is not None and Path(data).suffix.lower() in RECIPES:
        if not Path(data).is_file():
            raise UsageError(f"The recipe {data} does not exist: check the spelling.")
    elif data is not None:
        from steradian.data.sources import check_source

        check_source(data)
    if images:
        from steradian.data.image_files import image_files

        image_files(images)


def check_png(path: Path, option: str) -> None:
    """Raise `UsageError` unless ``path`` is a new .png."""
    from steradian.files import check_new

    check_new(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{option} draws a .png, but {path} is none: choose a name that ends in .png.")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))


def list_of(values: Sequence[str] | None) -> list[str]:
    """Return the items of a list option: the flag may be repeated, and each value may hold several, with commas."""
    return list(dict.fromkeys(part.strip() for value in values or () for part in value.split(",") if part.strip()))


def numbers_in(option: str, values: Sequence[str] | None) -> list[int]:
    """Return the whole numbers of a list option. Raises `UsageError` for anything else."""
    try:
        return [int(part) for part in list_of(values)]
    except ValueError as error:
        given = ",".join(values or ())
        raise UsageError(f"{option} {given}: expected whole numbers, such as {option} 2,3.") from error


def changed_recipe(recipe: Recipe, options: dict[str, Any], settings: Sequence[str] | None) -> Recipe:
    """Return ``recipe`` changed by ``options`` that are not None, then by ``--set``."""
    import yaml

    changes = {key: value for key, value in options.items() if value is not None}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE, such as training.clip=1.")
        try:
            changes[key.strip()] = _parse_value(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {setting}: expected a YAML value, but {text!r} is not one ({error}).") from error
    return recipe.changed(**changes)


def _parse_value(text: str) -> Any:
    """Parse a YAML value; also accept 1e-3 as a number, which YAML 1.1 reads as a string."""
    import yaml

    value = yaml.safe_load(text)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def training_options(
    root: str | None,
    image_size: int | None,
    encoder: str | None,
    weights: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int | None,
    skip_missing: bool = False,
) -> dict[str, Any]:
    """Return the options that all trainings share, by the recipe settings that they change."""
    data = {"data.root": root, "data.image_size": image_size, "encoder": encoder, "weights": weights}
    rates = {"training.batch_size": batch_size, "training.learning_rate": lr, "training.seed": seed}
    return {**data, "data.skip_missing": skip_missing or None, "training.epochs": epochs, **rates}


def gallery_of(run: str, gallery: Path | None) -> Path:
    """Return the path ``gallery``, or the gallery in the folder ``run``.

    Raises:
        UsageError: no ``gallery``, and ``run`` is the name of a model or no folder.
    """
    from steradian.models.locations import is_name

    if gallery is not None:
        return gallery_file(gallery)
    if is_name(run):
        raise UsageError(f"{run} is a built-in or published model, so it has no gallery. Name one with --gallery FILE.")
    if Path(run).is_dir():
        return Path(run) / NAME
    raise UsageError(f"{run} is not a folder, so it has no gallery. Name a run, or name one with --gallery FILE.")


def existing_gallery(run: str, gallery: Path | None) -> Path:
    """Return `gallery_of` for read-only use. Raise `UsageError` if the gallery does not exist."""
    path = gallery_of(run, gallery)
    if not path.is_file() and not str(path).startswith("milvus:"):
        raise UsageError(f"There is no gallery {path}. Create it first: steradian enroll RUN FOLDER.")
    return path


def gallery_file(path: Path) -> Path:
    """Return ``path``, or ``path/gallery.db`` if ``path`` is a run folder."""
    return path / NAME if path.is_dir() else path


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """Parse the value of ``option``. Raise `UsageError` for anything but a JSON object."""
    try:
        value = json.loads(text) if text is not None else None
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected a JSON object, but this is not JSON ({error}).") from error
    if value is not None and not isinstance(value, dict):
        raise UsageError(f'{option} {text}: expected a JSON object such as {{"site": "north"}}.')
    return value
