"""``steradian verify``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import print_json
from steradian.cli.places import Run
from steradian.cli.settings import Json


def verify(
    run: Run,
    first: Annotated[Path, typer.Argument(help="An image.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Another image.", metavar="B")],
    far: Annotated[
        float | None,
        typer.Option(
            help="Share of pairs of different ones that may pass for the same (default: 0.001, or the lowest there is)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say whether two images show the same.

    Examples:

    \b
      steradian verify runs/photos a.jpg b.jpg
      steradian verify glyphs a.png b.png --far 0.01 --json
    """
    from dataclasses import asdict

    from steradian.models.recognizer import Recognizer

    found = Recognizer.load(run).verify(first, second, far=far)
    if json:
        print_json(asdict(found))
        return
    probability = f", probability {found.probability:.1%}" if found.probability is not None else ""
    words = "the same" if found.same else "different"
    print(f"{words}: cosine {found.similarity:.3f}, threshold {found.threshold:.3f} at {found.far:g}{probability}")
