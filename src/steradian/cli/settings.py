"""From options on the command line to a recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.errors import UsageError

if TYPE_CHECKING:
    from steradian.training.recipe import Recipe

Data = Annotated[str, typer.Argument(help="Built-in name, folder, .zip, .tar, .npz, .csv or .parquet.", metavar="DATA")]
Root = Annotated[str | None, typer.Option(help="Folder with the files of a built-in set.", metavar="DIR")]
Encoder = Annotated[
    str | None, typer.Option(help="'small' (default up to 64 px), 'eight-layer', or any timm name.", metavar="NAME")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Pretrained encoder: 'package', 'hub', a .safetensors or .pth file, or a model folder.", metavar="ORIGIN"
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.", min=1)]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Pixels per side (default: native, at most 64; pretrained: as taught).", min=4, max=1024),
]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.", min=2)]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
Seed = Annotated[int | None, typer.Option(help="Seed, of compare the first.", min=0)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of a recipe, such as training.clip=1. Repeatable.", metavar="KEY=VALUE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ExistOk = Annotated[bool, typer.Option("--exist-ok", help="Write into a folder that holds other things.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="One batch through every stage; nothing is kept.")]


def changed_recipe(recipe: Recipe, given: dict[str, Any], settings: Sequence[str] | None) -> Recipe:
    """``recipe`` with the options that were given, then those of ``--set``."""
    import yaml

    changes = {key: value for key, value in given.items() if value is not None}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE, such as training.clip=1.")
        try:
            changes[key.strip()] = _value(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {setting}: {text!r} is no value ({error}).") from error
    return recipe.changed(**changes)


def _value(text: str) -> Any:
    """A YAML value; 1e-3 is a number too, which YAML 1.1 takes for a word."""
    import yaml

    value = yaml.safe_load(text)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value
