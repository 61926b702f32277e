"""``steradian losses``"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steradian.cli.output import columns, print_json
from steradian.cli.settings import Json


def losses(
    name: Annotated[str | None, typer.Argument(help="One loss in detail.", metavar="[NAME]")] = None,
    json: Json = False,
) -> None:
    """List the losses, or show one: formula, paper, options with their defaults, advice.

    Examples:

    \b
      steradian losses
      steradian losses arcface
    """
    from steradian.losses import names, preset

    rows = [preset(one) for one in ([name] if name is not None else names())]
    described: list[dict[str, Any]] = [
        {
            "name": row.name,
            "formula": row.formula,
            "paper": row.paper,
            "year": row.year,
            "options": row.options(),
            "advice": row.advice,
        }
        for row in rows
    ]
    if json:
        print_json(described[0] if name is not None else described)
    elif name is None:
        print(columns([(row.name, str(row.year), row.formula) for row in rows], ("name", "year", "formula")))
    else:
        for key, value in described[0].items():
            shown = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{key:8} {shown}")
