"""Implement ``steradian verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import print_json
from steradian.cli.settings import Json, Run, check_paths


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

    from steradian.models.recognizer import Recognizer

    result = Recognizer.load(run).verify(first, second, far=far)
    if json:
        print_json(asdict(result))
        return
    probability = f", probability {result.probability:.1%}" if result.probability is not None else ""
    answer = "the same" if result.same else "different"
    print(f"{answer}: cosine {result.similarity:.3f}, threshold {result.threshold:.3f} at {result.far:g}{probability}")
