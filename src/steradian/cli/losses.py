"""Implement ``steradian losses``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.cli import completion
from steradian.cli.output import columns, print_json, say
from steradian.cli.settings import Json

if TYPE_CHECKING:
    from steradian.losses import Preset

DEGREES = (1, 15, 30, 60, 90, 120, 150, 179)


def losses(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show this loss in detail.", metavar="[NAME|PATTERN]", autocompletion=completion.loss_names
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the loss's curves to this .png; needs NAME.", metavar="FILE")
    ] = None,
    json: Json = False,
) -> None:
    """List all losses, or show one: formula, paper, options with defaults, sensible ranges, curve.

    Examples:

    \b
      steradian losses
      steradian losses '*arc*'
      steradian losses arcface
      steradian losses sv-arcface --out sv-arcface.png
    """
    from steradian.errors import UsageError
    from steradian.losses import RECOMMENDED, names, preset
    from steradian.plots.loss_picture import write_loss_picture
    from steradian.plots.margins import curve_points

    if name is None or "*" in name:
        if out is not None:
            raise UsageError(
                "--out draws the curve of one loss. Name the loss, such as 'steradian losses arcface --out FILE'."
            )
        presets = [preset(known_name) for known_name in names(name or "*")]
        if json:
            print_json([{**_as_dict(item), "recommended": RECOMMENDED.get(item.name, "")} for item in presets])
            return
        if name is None:
            print("Try these first:")
            print(columns([(f"  {first}", why) for first, why in RECOMMENDED.items()], longest=120))
            print("\nAll losses:")
        rows = [(f"  {item.name}", str(item.year), item.formula) for item in presets]
        print(columns(rows, ("  name", "year", "formula")) if rows else f"No loss matches {name!r}.")
        return
    chosen = preset(name)
    if out is not None:
        from steradian.files import check_new

        check_new(out)
        write_loss_picture(chosen, out)
        say(f"Drawn into {out}")
    curve = curve_points(chosen.build(3, 4, {}), DEGREES)
    if json:
        print_json({**_as_dict(chosen), "curve": curve})
    else:
        _print_detail(chosen, curve)


def _as_dict(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "aliases": list(preset.aliases),
        "formula": preset.formula,
        "paper": preset.paper,
        "year": preset.year,
        "options": preset.options(),
        "sensible": preset.sensible,
        "advice": preset.advice,
    }


def _print_detail(preset: Preset, curve: list[dict[str, float]]) -> None:
    for key, value in _as_dict(preset).items():
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        if text:
            print(f"{key:8} {', '.join(text) if isinstance(text, list) else text}")
    if curve:
        cells = [(f"{c['degrees']}°", f"{c['target_logit']:.3f}", f"{c['gradient_factor']:.3g}") for c in curve]
        print()
        print(columns(cells, ("angle θ", "target logit / s", "gradient factor")))
        print("Angle: from an embedding to its own class center. Gradient factor: gradient relative to plain softmax.")
