"""Implement ``steradian enroll``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, columns, print_json, say
from steradian.cli.settings import GalleryFile, Json, Run, check_paths, gallery_of, json_object
from steradian.waiting import waiting

LISTED = 12
"""Number of names that are listed."""


def enroll(
    run: Run,
    images: Annotated[
        list[Path], typer.Argument(help="Folder with one subfolder of images per name, or images.", metavar="PATH…")
    ],
    name: Annotated[str | None, typer.Option(help="Enroll all of these images under this name.")] = None,
    gallery: GalleryFile = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", help="A JSON object to store with each name.", metavar="JSON")
    ] = None,
    prominent: Annotated[
        bool,
        typer.Option(
            "--prominent",
            help="Of several faces, or whatever the model finds, enroll the one that stands out most; otherwise such "
            "pictures are refused.",
        ),
    ] = False,
    region: Annotated[
        int | None,
        typer.Option(
            help="Of one picture, enroll only this face, or whatever the model finds: number 1 is the leftmost, as "
            "'find' and 'identify' count them. That part of the picture is kept beside the gallery.",
            min=1,
            metavar="N",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Enroll pictures that are too blurred, covered or small to tell anything by, too."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Enroll people, animals or things in a gallery from a few images each, without training.

    Afterwards 'identify' recognizes them. Images already enrolled under a name are skipped: you can rerun the command.

    Examples:

    \b
      steradian enroll runs/photos people/
      steradian enroll runs/photos ana1.jpg ana2.jpg --name Ana
      steradian enroll glyphs symbols/ --gallery symbols.db
      steradian enroll faces party.jpg --region 2 --name Ana --gallery people.db
    """
    check_paths(run, images=images)
    with waiting("starting", quiet=json):
        from steradian.errors import DataError, UsageError
        from steradian.gallery import Gallery
        from steradian.gallery.enrolling import enroll_files, enroll_region, people_of, told_gone
        from steradian.gallery.hints import gathered
        from steradian.models.embedder import open_model
        from steradian.training.progress import shown

    metadata_values = json_object("--metadata", metadata)
    named = people_of(images, name)
    files = [file for files in named.by_name.values() for file in files]
    if region is not None and (name is None or len(files) != 1 or prominent):
        raise UsageError("--region needs exactly one picture and --name, without --prominent.")
    if region is not None and not open_model(run).preprocessing.finds:
        raise UsageError("--region is for models that find regions in a photo, such as faces, and this finds none.")
    with Gallery.open(gallery_of(run, gallery), run) as opened:
        if region is None:
            result = enroll_files(
                opened, named.by_name, metadata_values, prominent=prominent, force=force, progress=shown
            )
        else:
            ((called, _),) = named.by_name.items()
            result = enroll_region(opened, called, files[0], region, metadata_values, force=force)
        count = len(opened)
    if json:
        failures = [{"image": item.name, "reason": item.reason} for item in result.failures]
        print_json(
            {
                "added": result.added,
                "skipped": result.skipped,
                "replaced": result.replaced,
                "gone": [{"name": name, "image": image} for name, image in result.gone],
                "failures": failures,
                "hints": [str(hint) for hint in result.hints],
                "notes": list(named.notes),
            }
        )
    else:
        if result.added:
            rows = [(name, f"{number} image{'s' * (number != 1)}") for name, number in result.added.items()]
            print(columns(rows[:LISTED]))
            if len(rows) > LISTED:
                print(f"… and {len(rows) - LISTED} more names")
        skipped = f"; {result.skipped} images were already enrolled" if result.skipped else ""
        replaced = f"; {result.replaced} changed pictures took the place of the old ones" if result.replaced else ""
        print(f"{len(result.added)} name(s) enrolled, {count} in {gallery_of(run, gallery)}{skipped}{replaced}")
        bullets([*gathered(result.hints, result.added), *told_gone(result.gone)], "!")
    bullets(named.notes, "!")
    for item in result.failures:
        say(f"Error: {item.name}: {item.reason}")
    if result.failures:
        forced = any("or force it" in item.reason for item in result.failures)
        hint = " Pictures that are too poor are enrolled with --force." if forced else ""
        raise DataError(f"{len(result.failures)} images could not be enrolled.{hint}")
