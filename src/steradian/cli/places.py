"""Where a gallery is, from the options of a verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from steradian.errors import UsageError

Run = Annotated[str, typer.Argument(help="Run or model folder, or 'glyphs' (built in: drawn symbols).", metavar="RUN")]
GalleryFile = Annotated[
    Path | None, typer.Option(help="Gallery file (default: RUN/gallery.db), or milvus:HOST:PORT/NAME.", metavar="FILE")
]

NAME = "gallery.db"


def gallery_of(run: str, gallery: Path | None) -> Path:
    """The file ``gallery``, or the one in the folder ``run``.

    Raises:
        UsageError: neither a file nor a folder to look in.
    """
    if gallery is not None:
        return gallery_file(gallery)
    if Path(run).is_dir():
        return Path(run) / NAME
    raise UsageError(f"There is no folder {run}: name a run; for a built-in model also name one with --gallery FILE.")


def existing_gallery(run: str, gallery: Path | None) -> Path:
    """`gallery_of` for questions: asking makes no gallery. Raises `UsageError` where there is none."""
    found = gallery_of(run, gallery)
    if not found.is_file() and not str(found).startswith("milvus:"):
        raise UsageError(f"There is no gallery {found}. Enroll somebody first: steradian enroll RUN FOLDER.")
    return found


def gallery_file(place: Path) -> Path:
    """``place``, or the gallery in it where it is a run folder."""
    return place / NAME if place.is_dir() else place


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """What ``option`` holds. Raises `UsageError` for anything but a JSON object."""
    try:
        found = json.loads(text) if text is not None else None
    except ValueError as error:
        raise UsageError(f"{option} {text}: no JSON ({error}).") from error
    if found is not None and not isinstance(found, dict):
        raise UsageError(f'{option} {text}: expected an object such as {{"site": "north"}}.')
    return found
