"""Implement ``steradian data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli import completion
from steradian.cli.output import bullets, columns, print_json
from steradian.cli.settings import Json, Root, SkipMissing, check_paths
from steradian.waiting import waiting


def data(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Built-in name, folder, .zip, .tar, .npz, .csv or .parquet.",
            metavar="[DATA]",
            autocompletion=completion.data_names,
        ),
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
    copy_to: Annotated[
        Path | None, typer.Option(help="Write the photographs of 'sample' into this new folder.", metavar="FOLDER")
    ] = None,
    skip_missing: SkipMissing = False,
    out: Annotated[Path | None, typer.Option(help="Folder for an HTML report with pictures.")] = None,
    json: Json = False,
) -> None:
    """Check a data set before training: counts, sizes, damaged files, duplicates. Without DATA, list the built-in sets.

    Examples:

    \b
      steradian data
      steradian data sample --copy-to photos/
      steradian data photos/ --json
      steradian data photos/ --views sheet.png
      steradian data photos/ --near-copies package --out runs/photos-data
    """
    check_paths(data=source)
    from steradian.data.catalog import DESCRIPTIONS, SAMPLE, copy_sample
    from steradian.errors import UsageError

    if source is None:
        print_json(DESCRIPTIONS) if json else print(columns(list(DESCRIPTIONS.items())))
        return
    if copy_to is not None:
        if source != SAMPLE:
            raise UsageError(f"--copy-to is for the built-in photographs: steradian data {SAMPLE} --copy-to FOLDER.")
        count = copy_sample(copy_to)
        print_json({"images": count, "folder": str(copy_to)}) if json else print(
            f"{copy_to} holds {count} photographs of clothing, a folder for each of 10 kinds.\n"
            f"Next: steradian train {copy_to}"
        )
        return
    with waiting("starting", quiet=json):
        from steradian.data.loading.damage import listing
        from steradian.studies.discovery.data_report import facts_of, inspect_data
        from steradian.training.progress import shown

    result = inspect_data(
        source, root, out=out, views=views, near_copies=near_copies, skip_missing=skip_missing, progress=shown
    )
    inspection, near = result.inspection, result.near
    page = out / "report.html" if out is not None else None
    if json:
        near_copy_rows = {} if near is None else {"near_copies": near.as_list(), "near_copy_leaks": near.leaks}
        written = {"report": page, "views": views}
        files = {name: str(path) for name, path in written.items() if path is not None}
        print_json(inspection.as_dict() | near_copy_rows | files)
        return
    print(columns(list(facts_of(inspection).items())))
    print()
    class_rows = [(f"  {name}", f"{count:,}") for name, count in list(inspection.per_class.items())[:40]]
    print(columns(class_rows))
    if len(inspection.per_class) > 40:
        print(f"  … and {len(inspection.per_class) - 40} more classes (--json lists all)")
    bullets((*inspection.warnings, *(() if near is None else near.sentences())), "!")
    if inspection.skipped:
        print(f"\ncannot be decoded:\n{listing(inspection.skipped)}")
    for title, path in (("views", views), ("report", page)):
        if path is not None:
            print(f"\n{title:6}  {path}")
