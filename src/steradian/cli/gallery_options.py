"""Locate the gallery from the options of a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from steradian.errors import UsageError

Run = Annotated[str, typer.Argument(help="Run or model folder, or 'glyphs' (built-in symbol model).", metavar="RUN")]
GalleryFile = Annotated[
    Path | None, typer.Option(help="Gallery file (default: RUN/gallery.db), or milvus:HOST:PORT/NAME.", metavar="FILE")
]

NAME = "gallery.db"


def gallery_of(run: str, gallery: Path | None) -> Path:
    """Return the path ``gallery``, or the gallery in the folder ``run``.

    Raises:
        UsageError: no ``gallery``, and ``run`` is not a folder.
    """
    if gallery is not None:
        return gallery_file(gallery)
    if Path(run).is_dir():
        return Path(run) / NAME
    raise UsageError(f"{run} is not a folder, so it has no gallery. Name a run, or name one with --gallery FILE.")


def existing_gallery(run: str, gallery: Path | None) -> Path:
    """Return `gallery_of` for read-only use. Raise `UsageError` if the gallery does not exist."""
    path = gallery_of(run, gallery)
    if not path.is_file() and not str(path).startswith("milvus:"):
        raise UsageError(f"There is no gallery {path}. Create it first: steradian enroll RUN FOLDER.")
    return path


def gallery_file(path: Path) -> Path:
    """Return ``path``, or ``path/gallery.db`` if ``path`` is a run folder."""
    return path / NAME if path.is_dir() else path


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """Parse the value of ``option``. Raise `UsageError` for anything but a JSON object."""
    try:
        value = json.loads(text) if text is not None else None
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected a JSON object, but this is not JSON ({error}).") from error
    if value is not None and not isinstance(value, dict):
        raise UsageError(f'{option} {text}: expected a JSON object such as {{"site": "north"}}.')
    return value
