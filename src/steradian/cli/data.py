"""Implement ``steradian data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, columns, print_json
from steradian.cli.settings import Json, Root


def data(
    source: Annotated[
        str | None, typer.Argument(help="Built-in name, folder, .zip, .tar, .npz, .csv or .parquet.", metavar="[DATA]")
    ] = None,
    root: Root = None,
    views: Annotated[
        Path | None, typer.Option(help="Write a PNG of images and their augmented training views.", metavar="PNG")
    ] = None,
    near_copies: Annotated[
        str | None,
        typer.Option(
            help="Find near-duplicate images. MODEL: 'package' (the installed weights), or a run or model folder.",
            metavar="MODEL",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for an HTML report with pictures.")] = None,
    json: Json = False,
) -> None:
    """Check a data set before training: counts, sizes, damaged files, duplicates. Without DATA, list the built-in sets.

    Examples:

    \b
      steradian data
      steradian data photos/ --json
      steradian data photos/ --views sheet.png
      steradian data photos/ --near-copies package --out runs/photos-data
    """
    from steradian.data import DESCRIPTIONS

    if source is None:
        print_json(DESCRIPTIONS) if json else print(columns(list(DESCRIPTIONS.items())))
        return
    from steradian import data as images
    from steradian.data.pixels import listing
    from steradian.files import check_folder, new_folder, write_text
    from steradian.training.progress import shown

    if views is not None:
        from steradian.studies.discovery.view_sheet import write_view_sheet

        write_view_sheet(source, root, views)
        print(f"views  {views}")
        return
    from steradian.studies.discovery.data_report import build_report, facts_of
    from steradian.studies.discovery.near_copies import near_copies as near_copies_of

    image_set = images.open(source, root)
    if out is not None:
        check_folder(out)
    inspection = images.inspect(image_set, shown)
    near = near_copies_of(image_set, near_copies, progress=shown) if near_copies is not None else None
    page = out / "report.html" if out is not None else None
    if page is not None:
        new_folder(page.parent, exist_ok=True)
        write_text(page, build_report(image_set, inspection, near).html())
    if json:
        near_copy_rows = {} if near is None else {"near_copies": near.as_list(), "near_copy_leaks": near.leaks}
        print_json(inspection.as_dict() | near_copy_rows | ({} if page is None else {"report": str(page)}))
        return
    summary_rows = list(facts_of(inspection).items())
    print(columns(summary_rows))
    print()
    class_rows = [(f"  {name}", f"{count:,}") for name, count in list(inspection.per_class.items())[:40]]
    print(columns(class_rows))
    if len(inspection.per_class) > 40:
        print(f"  … and {len(inspection.per_class) - 40} more classes (--json lists all)")
    bullets((*inspection.warnings, *(() if near is None else near.sentences())), "!")
    if inspection.skipped:
        print(f"\ncannot be decoded:\n{listing(inspection.skipped)}")
    if page is not None:
        print(f"\nreport  {page}")
