"""``steradian data``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, columns, print_json
from steradian.cli.settings import Json, Root


def data(
    source: Annotated[
        str | None, typer.Argument(help="Built-in name, folder, .zip, .npz or .csv.", metavar="[DATA]")
    ] = None,
    root: Root = None,
    views: Annotated[
        Path | None, typer.Option(help="Write a picture of images beside the views that training makes.", metavar="PNG")
    ] = None,
    json: Json = False,
) -> None:
    """Look at a data set before training: counts, sizes, damaged files. Without DATA, list the built-in sets.

    Examples:

    \b
      steradian data
      steradian data photos/ --json
      steradian data photos/ --views sheet.png
    """
    from steradian.data import DESCRIPTIONS

    if source is None:
        print_json(DESCRIPTIONS) if json else print(columns(list(DESCRIPTIONS.items())))
        return
    from steradian import data as images
    from steradian.data.pixels import listing
    from steradian.training.progress import shown

    if views is not None:
        from steradian.studies.view_sheet import write_view_sheet

        write_view_sheet(source, root, views)
        print(f"views  {views}")
        return
    found = images.inspect(images.open(source, root), shown)
    if json:
        print_json(found.as_dict())
        return
    sizes = " / ".join(f"{height}x{width}" for height, width in (found.smallest, found.median, found.largest))
    facts = [
        ("source", found.source),
        ("images", f"{found.images:,} {'gray' if found.gray else 'color'}"),
        ("size (smallest / median / largest)", sizes),
        ("classes", f"{len(found.classes)}"),
    ]
    if found.per_split:
        facts.append(("splits", ", ".join(f"{name} {count:,}" for name, count in found.per_split.items())))
    print(columns(facts))
    print()
    shares = [(f"  {name}", f"{count:,}") for name, count in list(found.per_class.items())[:40]]
    print(columns(shares))
    if len(found.per_class) > 40:
        print(f"  … and {len(found.per_class) - 40} more classes (--json lists all)")
    bullets(found.warnings, "!")
    if found.skipped:
        print(f"\ncannot be decoded:\n{listing(found.skipped)}")
