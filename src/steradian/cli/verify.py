"""Implement ``steradian verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import print_json, wrapped
from steradian.cli.settings import Json, Run, check_paths
from steradian.waiting import waiting

LIKELY = 0.9
"""A pair below the threshold that is the same with this probability or more is not called different."""


def verify(
    run: Run,
    first: Annotated[Path, typer.Argument(help="An image.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Another image.", metavar="B")],
    far: Annotated[
        float | None,
        typer.Option(
            help="False-accept rate: accepted share of pairs of different identities (default: 0.001, or the lowest "
            "calibrated one)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Decide whether two images show the same identity.

    Examples:

    \b
      steradian verify runs/photos a.jpg b.jpg
      steradian verify glyphs a.png b.png --far 0.01 --json
    """
    check_paths(run, images=[first, second])
    from dataclasses import asdict

    with waiting("starting", quiet=json):
        from steradian.models.recognizer import Recognizer

        result = Recognizer.load(run).verify(first, second, far=far)
    if json:
        print_json(asdict(result))
        return
    likely = result.probability is not None and result.probability >= LIKELY
    print("the same" if result.same else "perhaps the same" if likely else "different")
    side = "above" if result.same else "not above"
    print(
        wrapped(
            f"  similarity {result.similarity:.3f}, {side} {result.threshold:.3f}, which {100 * result.far:g} % of "
            "pairs of different things exceed",
            "  ",
        )
    )
    if result.probability is not None:
        print(f"  {100 * result.probability:.0f} % sure that they are the same, if both are equally likely before")
