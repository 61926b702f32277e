"""Implement ``steradian gallery …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.settings import Json, gallery_file

IDENTICAL_COSINE = 0.9999
"""Two images whose cosine exceeds this count as identical."""

GalleryPath = Annotated[Path, typer.Argument(help="Gallery file, or run folder with a gallery.db.", metavar="GALLERY")]
ExportPath = Annotated[
    Path, typer.Argument(help="An exported .zip, or a folder written by 'steradian embed'.", metavar="FILE|DIR")
]
Name = Annotated[str, typer.Argument(help="An enrolled name.", metavar="NAME")]
Numbers = Annotated[
    list[int], typer.Argument(help="Numbers of images, which 'gallery images' lists.", metavar="NUMBER…")
]

SUMMARY = "Manage a gallery: list, rename and remove names, set thresholds, export and import"

app = typer.Typer(
    no_args_is_help=True,
    help=f"""{SUMMARY}.

Examples:

\b
  steradian gallery list runs/photos
  steradian gallery rename runs/photos "Ana" "Ana M."
  steradian gallery images runs/photos "Ana"
  steradian gallery remove-image runs/photos 17
  steradian gallery calibrate runs/photos
  steradian gallery rebuild runs/photos/gallery.db runs/better
""",
)


@app.command("list")
def list_(gallery: GalleryPath, json: Json = False) -> None:
    """List all enrolled names."""
    from dataclasses import asdict

    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        identities, model, thresholds = opened.identities(), opened.register.backend.model, opened.thresholds
    if json:
        limits = [one.model_dump() for one in thresholds] if thresholds.owner == "this gallery" else []
        print_json({"identities": [asdict(one) for one in identities], "model": model, "thresholds": limits})
        return
    rows = [(one.name, f"{one.images} image(s)", f"changed {one.changed[:10]}") for one in identities]
    print(columns(rows) if rows else "Nobody is enrolled.")
    print(f"\n{len(identities)} name(s), model {model[:12]}…")


@app.command()
def remove(gallery: GalleryPath, name: Name, json: Json = False) -> None:
    """Remove a name and all of its images."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.remove(name)
    print_json({"removed": name}) if json else print(f"{name} is no longer enrolled.")


@app.command()
def images(gallery: GalleryPath, name: Name, json: Json = False) -> None:
    """List the images of a name, with their numbers."""
    from dataclasses import asdict

    from steradian.gallery import Gallery
    from steradian.gallery.records import ELSEWHERE

    with Gallery.open(gallery_file(gallery)) as opened:
        enrolled = opened.register.images_of(name)
    if json:
        print_json({"name": name, "images": [asdict(one) for one in enrolled]})
        return
    print(columns([(f"{one.id}", one.created[:10], one.source.removeprefix(ELSEWHERE) or "-") for one in enrolled]))


@app.command("remove-image")
def remove_image(gallery: GalleryPath, numbers: Numbers, json: Json = False) -> None:
    """Remove single images from their names, by the numbers that 'gallery images' lists."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.remove_images(numbers)
    numbers = sorted(set(numbers))
    print_json({"removed": numbers}) if json else print(f"{len(numbers)} image(s) removed.")


@app.command("move-image")
def move_image(
    gallery: GalleryPath,
    numbers: Numbers,
    to: Annotated[str, typer.Option(help="Name that gets the images, new or already enrolled.", metavar="NAME")],
    json: Json = False,
) -> None:
    """Give single images to another name, by the numbers that 'gallery images' lists."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.register.move_images(numbers, to)
    numbers = sorted(set(numbers))
    print_json({"moved": numbers, "to": to}) if json else print(f"{len(numbers)} image(s) moved to {to}.")


@app.command()
def rename(
    gallery: GalleryPath, name: Name, new: Annotated[str, typer.Argument(metavar="NEW")], json: Json = False
) -> None:
    """Rename an enrolled name."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.rename(name, new)
    print_json({"renamed": name, "to": new}) if json else print(f"Renamed {name} to {new}.")


@app.command()
def merge(
    gallery: GalleryPath, name: Name, into: Annotated[str, typer.Argument(metavar="INTO")], json: Json = False
) -> None:
    """Merge two names: move all images of NAME to INTO."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.merge(name, into)
    print_json({"merged": name, "into": into}) if json else print(f"Moved all images of {name} to {into}.")


@app.command()
def calibrate(
    gallery: GalleryPath,
    reset: Annotated[
        bool, typer.Option("--reset", help="Delete the gallery's thresholds and use the model's again.")
    ] = False,
    json: Json = False,
) -> None:
    """Calibrate thresholds on the gallery's own images, each treated as if its name were not enrolled."""
    from steradian.gallery import Gallery
    from steradian.gallery import calibrate as measure

    with Gallery.open(gallery_file(gallery)) as opened:
        if reset:
            opened.set_thresholds(())
            print_json({"thresholds": []}) if json else print("The model's thresholds apply again.")
            return
        thresholds = measure(opened)
    if any(one.cosine > IDENTICAL_COSINE for one in thresholds):
        say("! Different names have identical images, so some thresholds cannot be exceeded. See the hints of enroll.")
    if json:
        print_json({"thresholds": [one.model_dump() for one in thresholds]})
        return
    rows = [(f"{one.far:g}", f"{one.cosine:.3f}", f"95 % {one.low:.3f} to {one.high:.3f}") for one in thresholds]
    print(columns(rows, ("false accepts", "cosine", "")) if rows else "Too few images for any threshold. Enroll more.")
    if thresholds:
        print(f"\nmeasured on {thresholds[0].measured_on}")


@app.command()
def index(
    gallery: GalleryPath,
    kind: Annotated[str, typer.Option(help="hnsw (graph) or sq8 (one byte per number).")] = "hnsw",
    drop: Annotated[bool, typer.Option("--drop", help="Remove the index: search exactly again.")] = False,
    json: Json = False,
) -> None:
    """Build an approximate search index, for galleries of millions; results are still ranked by exact cosines.

    Each call rebuilds the index from the gallery. The index file can be deleted at any time.
    """
    from steradian.errors import UsageError
    from steradian.gallery import Gallery
    from steradian.gallery.search.faiss_index import KINDS

    if kind not in KINDS:
        raise UsageError(f"Unknown index kind {kind!r}. Choose {' or '.join(KINDS)}, or --drop for none.")
    with Gallery.open(gallery_file(gallery)) as opened:
        if drop:
            opened.drop_index()
            print_json({"index": None}) if json else print("Search is exact now.")
            return
        built = opened.index(kind)
    described = f"{built.kind} index of {built.images} image(s), {built.bytes / 1e6:.1f} MB"
    print_json(built.model_dump()) if json else print(described)


@app.command()
def export(
    gallery: GalleryPath,
    file: Annotated[Path | None, typer.Argument(help="A .zip to write.", metavar="[FILE]")] = None,
    out: Annotated[Path | None, typer.Option(help="A .zip to write.", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Export all names and embeddings to one file, for another gallery of the same model."""
    from steradian.errors import UsageError
    from steradian.gallery import Gallery
    from steradian.gallery.exchange import export as write

    path = out if out is not None else file
    if path is None or (out is not None and file is not None):
        raise UsageError("Expected one file to write: name it with --out FILE.")
    if path.exists():
        raise UsageError(f"{path} already exists. Choose another --out.")
    with Gallery.open(gallery_file(gallery)) as opened:
        count = write(opened, path)
    print_json({"images": count, "file": str(path)}) if json else print(f"{count} image(s) in {path}")


@app.command("import")
def import_(
    gallery: GalleryPath,
    file: ExportPath,
    trust_paths: Annotated[
        bool,
        typer.Option(
            "--trust-paths", help="Open images at the paths that the file names: only for a file that you made here."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Import an exported file, or embeddings, into a gallery. Create the gallery if it does not exist."""
    from steradian.gallery.exchange import import_file

    count = import_file(gallery_file(gallery), file, trust_paths=trust_paths)
    path = str(gallery_file(gallery))
    print_json({"images": count, "gallery": path}) if json else print(f"{count} image(s) enrolled in {path}")


@app.command()
def rebuild(
    gallery: GalleryPath,
    run: Annotated[Path, typer.Argument(help="Run or model folder.", metavar="RUN")],
    drop_lost: Annotated[bool, typer.Option("--drop-lost", help="Drop images whose files are missing.")] = False,
    json: Json = False,
) -> None:
    """Re-embed all images with another model, from their original files."""
    from steradian.gallery.exchange import rebuild as reembed
    from steradian.models.recognizer import Recognizer
    from steradian.training.progress import shown

    count, lost = reembed(gallery_file(gallery), Recognizer.load(run), shown, drop_lost=drop_lost)
    say("The old calibration was discarded; the new model's thresholds apply until you recalibrate.")
    print_json({"images": count, "lost": lost}) if json else print(f"{count} image(s) re-embedded.")
    for line in lost:
        say(f"! dropped: {line}")
