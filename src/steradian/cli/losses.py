"""``steradian losses``"""

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
    name: Annotated[str | None, typer.Argument(help="One loss in detail.", metavar="[NAME]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw its curves into this .png; needs NAME.", metavar="FILE")
    ] = None,
    json: Json = False,
) -> None:
    """List the losses, or show one: formula, paper, options with their defaults, sensible range, curve.

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
                "--out draws the curve of one loss: name it, such as 'steradian losses arcface --out FILE'."
            )
        rows = [preset(one) for one in names()]
        if json:
            print_json([_described(row) for row in rows])
        else:
            print(columns([(row.name, str(row.year), row.formula) for row in rows], ("name", "year", "formula")))
        return
    row = preset(name)
    if out is not None:
        _draw(row, out)
    curve = curve_points(row.build(3, 4, {}), DEGREES)
    if json:
        print_json({**_described(row), "curve": curve})
    else:
        _print_detail(row, curve)


def _described(row: Preset) -> dict[str, Any]:
    return {
        "name": row.name,
        "aliases": list(row.aliases),
        "formula": row.formula,
        "paper": row.paper,
        "year": row.year,
        "options": row.options(),
        "sensible": row.sensible,
        "advice": row.advice,
    }


def _print_detail(row: Preset, curve: list[dict[str, float]]) -> None:
    for key, value in _described(row).items():
        shown = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        if shown:
            print(f"{key:8} {', '.join(shown) if isinstance(shown, list) else shown}")
    if curve:
        cells = [(f"{c['degrees']}°", f"{c['target_logit']:.3f}", f"{c['gradient_factor']:.3g}") for c in curve]
        print()
        print(columns(cells, ("angle θ", "target logit / s", "gradient factor")))
        print("Angle to the own center. Gradient factor: how many times as hard as plain softmax it pulls there.")


def _draw(row: Preset, out: Path) -> None:
    from steradian.errors import UsageError
    from steradian.files import atomic_file
    from steradian.losses import MarginSoftmaxLoss
    from steradian.plots.loss_picture import loss_picture

    loss = row.build(3, 4, {})
    if not isinstance(loss, MarginSoftmaxLoss):
        raise UsageError(
            f"{row.name!r} is no function of one angle: it has no curve to draw. Its formula: {row.formula}"
        )
    if out.suffix != ".png":
        raise UsageError(f"--out must end in .png, but is {out.name!r}.")
    with atomic_file(out) as temporary:
        temporary.write_bytes(loss_picture(row.name, loss).light)
    say(f"Drawn into {out}")
