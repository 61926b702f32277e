"""Implement ``steradian losses``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.settings import Json

if TYPE_CHECKING:
    from steradian.losses import Preset

DEGREES = (1, 15, 30, 60, 90, 120, 150, 179)


def losses(
    name: Annotated[str | None, typer.Argument(help="Show this loss in detail.", metavar="[NAME]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the loss's curves to this .png; needs NAME.", metavar="FILE")
    ] = None,
    json: Json = False,
) -> None:
    """List all losses, or show one: formula, paper, options with defaults, sensible ranges, curve.

    Examples:

    \b
      steradian losses
      steradian losses arcface
      steradian losses sv-arcface --out sv-arcface.png
    """
    from steradian.errors import UsageError
    from steradian.losses import names, preset
    from steradian.plots.margins import curve_points

    if name is None:
        if out is not None:
            raise UsageError(
                "--out draws the curve of one loss. Name the loss, such as 'steradian losses arcface --out FILE'."
            )
        presets = [preset(known_name) for known_name in names()]
        if json:
            print_json([_as_dict(item) for item in presets])
        else:
            rows = [(item.name, str(item.year), item.formula) for item in presets]
            print(columns(rows, ("name", "year", "formula")))
        return
    chosen = preset(name)
    if out is not None:
        _draw(chosen, out)
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


def _draw(preset: Preset, out: Path) -> None:
    from steradian.errors import UsageError
    from steradian.files import atomic_file
    from steradian.losses import MarginSoftmaxLoss
    from steradian.plots.loss_picture import loss_picture

    loss = preset.build(3, 4, {})
    if not isinstance(loss, MarginSoftmaxLoss):
        raise UsageError(
            f"{preset.name!r} has no curve to draw: it is not a function of one angle. Its formula: {preset.formula}"
        )
    if out.suffix != ".png":
        raise UsageError(f"--out must end in .png, but is {out.name!r}.")
    with atomic_file(out) as temporary:
        temporary.write_bytes(loss_picture(preset.name, loss).light)
    say(f"Curves written to {out}")
