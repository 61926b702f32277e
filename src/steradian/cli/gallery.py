"""``steradian gallery …``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.places import gallery_file
from steradian.cli.settings import Json

SAME = 0.9999
"""Cosine from which two pictures are the same."""

Place = Annotated[Path, typer.Argument(help="Gallery file, or run folder with a gallery.db.", metavar="GALLERY")]
Exported = Annotated[
    Path, typer.Argument(help="An exported .zip, or a folder of 'steradian embed'.", metavar="FILE|DIR")
]
Name = Annotated[str, typer.Argument(help="Who is meant.", metavar="NAME")]

app = typer.Typer(
    no_args_is_help=True,
    help="""Look after a gallery: who is enrolled, under which name, at which threshold.

Examples:

\b
  steradian gallery list runs/photos
  steradian gallery rename runs/photos "Ana" "Ana M."
  steradian gallery calibrate runs/photos
  steradian gallery rebuild runs/photos/gallery.db runs/better
""",
)


@app.command("list")
def list_(gallery: Place, json: Json = False) -> None:
    """Everybody who is enrolled."""
    from dataclasses import asdict

    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        found, model, thresholds = opened.identities(), opened.store.fact("model"), opened.thresholds()
    if json:
        limits = [one.model_dump() for one in thresholds]
        print_json({"identities": [asdict(one) for one in found], "model": model, "thresholds": limits})
        return
    rows = [(one.name, f"{one.images} image(s)", f"changed {one.changed[:10]}") for one in found]
    print(columns(rows) if rows else "Nobody is enrolled.")
    print(f"\n{len(found)} name(s), model {model[:12]}…")


@app.command()
def remove(gallery: Place, name: Name) -> None:
    """Forget a name and all of its images."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.remove(name)
    print(f"{name} is no longer enrolled.")


@app.command()
def rename(gallery: Place, name: Name, new: Annotated[str, typer.Argument(metavar="NEW")]) -> None:
    """Give a name another name."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.rename(name, new)
    print(f"{name} is called {new} now.")


@app.command()
def merge(gallery: Place, name: Name, into: Annotated[str, typer.Argument(metavar="INTO")]) -> None:
    """Make one name of two: the images of NAME become those of INTO."""
    from steradian.gallery import Gallery

    with Gallery.open(gallery_file(gallery)) as opened:
        opened.merge(name, into)
    print(f"The images of {name} are those of {into} now.")


@app.command()
def calibrate(
    gallery: Place,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget them: the thresholds of the model count again.")
    ] = False,
    json: Json = False,
) -> None:
    """Choose thresholds by the gallery's own images, each asked about as if it were a stranger."""
    from steradian.gallery import Gallery
    from steradian.gallery import calibrate as measure

    with Gallery.open(gallery_file(gallery)) as opened:
        if reset:
            opened.set_thresholds(())
            print("The thresholds of the model count again.")
            return
        found = measure(opened)
    if any(one.cosine > SAME for one in found):
        say("! Pictures of different names are the same: nothing exceeds such a threshold. See what enroll hints at.")
    if json:
        print_json({"thresholds": [one.model_dump() for one in found]})
        return
    rows = [(f"{one.far:g}", f"{one.cosine:.3f}", f"95 % {one.low:.3f} to {one.high:.3f}") for one in found]
    print(columns(rows, ("false accepts", "cosine", "")) if rows else "There are too few images for any threshold.")
    if found:
        print(f"\nmeasured on {found[0].measured_on}")


@app.command()
def index(
    gallery: Place,
    kind: Annotated[
        str, typer.Option(help="hnsw (graph), ivf (lists), sq8 (a byte a number), or none: search exactly.")
    ] = "hnsw",
    json: Json = False,
) -> None:
    """Make an approximate index, for galleries of millions; answers are still ranked by exact cosines.

    It is made anew from the record whenever this runs, and may be deleted at any time.
    """
    from typing import get_args

    from steradian.errors import UsageError
    from steradian.gallery import Gallery
    from steradian.gallery.index import Kind

    if kind not in (*get_args(Kind), "none"):
        raise UsageError(f"There is no index {kind!r}: choose {', '.join(get_args(Kind))} or none.")
    with Gallery.open(gallery_file(gallery)) as opened:
        if kind == "none":
            opened.drop_index()
            print("Search is exact now.")
            return
        made = opened.index(kind)  # type: ignore[arg-type]
    if json:
        print_json(made.model_dump())
        return
    print(f"{made.kind} index of {made.images} image(s), {made.bytes / 1e6:.1f} MB")


@app.command()
def export(gallery: Place, out: Annotated[Path, typer.Argument(help="A .zip to write.", metavar="FILE")]) -> None:
    """Write everybody into one file, for another gallery of the same model."""
    from steradian.errors import UsageError
    from steradian.gallery import Gallery
    from steradian.gallery.exchange import export as write

    if out.exists():
        raise UsageError(f"{out} exists already: choose another FILE.")
    with Gallery.open(gallery_file(gallery)) as opened:
        count = write(opened, out)
    print(f"{count} image(s) in {out}")


@app.command("import")
def import_(gallery: Place, file: Exported) -> None:
    """Enroll everybody of an exported file; a gallery that does not exist is made."""
    from steradian.gallery.exchange import import_file

    count = import_file(gallery_file(gallery), file)
    print(f"{count} image(s) enrolled in {gallery_file(gallery)}")


@app.command()
def rebuild(
    gallery: Place,
    run: Annotated[Path, typer.Argument(help="Run or model folder.", metavar="RUN")],
    drop_lost: Annotated[bool, typer.Option("--drop-lost", help="Let images go whose files are gone.")] = False,
    json: Json = False,
) -> None:
    """Embed all images anew by another model, from the files they came from."""
    from steradian.gallery.exchange import rebuild as embed_anew
    from steradian.models.recognizer import Recognizer
    from steradian.training.progress import shown

    count, lost = embed_anew(gallery_file(gallery), Recognizer.load(run), shown, drop_lost=drop_lost)
    say("What it was calibrated for was of the model before: those of the new one count until it is calibrated again.")
    if json:
        print_json({"images": count, "lost": lost})
    else:
        print(f"{count} image(s) embedded anew.")
    for line in lost:
        say(f"! lost: {line}")
