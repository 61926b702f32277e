"""``steradian enroll``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, columns, print_json, say
from steradian.cli.places import GalleryFile, Run, gallery_of, json_object
from steradian.cli.settings import Json


def enroll(
    run: Run,
    images: Annotated[
        list[Path], typer.Argument(help="A folder with one folder of images for each name, or images.", metavar="PATH…")
    ],
    name: Annotated[str | None, typer.Option(help="Whose all of these images are.")] = None,
    gallery: GalleryFile = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", help="A JSON object kept with each name.", metavar="JSON")
    ] = None,
    json: Json = False,
) -> None:
    """Add people, animals or things by a few images each, so that 'identify' knows them: no training.

    Images that are enrolled under that name already are skipped, so the same command may be run again at any time.

    Examples:

    \b
      steradian enroll runs/photos people/
      steradian enroll runs/photos ana1.jpg ana2.jpg --name Ana
      steradian enroll glyphs symbols/ --gallery symbols.db
    """
    from steradian.errors import DataError
    from steradian.gallery import Gallery
    from steradian.gallery.enrolling import enroll_files, people_of
    from steradian.training.progress import shown

    facts = json_object("--metadata", metadata)
    people = people_of(images, name)
    with Gallery.open(gallery_of(run, gallery), run) as opened:
        found = enroll_files(opened, people, facts, progress=shown)
        count = len(opened)
    if json:
        failures = [{"image": item.name, "reason": item.reason} for item in found.failures]
        print_json({"added": found.added, "skipped": found.skipped, "failures": failures, "hints": found.hints})
    else:
        if found.added:
            print(columns([(name, f"{number} image(s)") for name, number in list(found.added.items())[:40]]))
        skipped = f"; {found.skipped} images were there already" if found.skipped else ""
        print(f"{len(found.added)} name(s) enrolled, {count} in {gallery_of(run, gallery)}{skipped}")
        bullets(found.hints, "!")
    for item in found.failures:
        say(f"Error: {item.name}: {item.reason}")
    if found.failures:
        raise DataError(f"{len(found.failures)} images could not be enrolled.")
