"""``steradian identify``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.places import GalleryFile, Run, existing_gallery, json_object
from steradian.cli.settings import Json

if TYPE_CHECKING:
    from steradian.gallery import Decision
    from steradian.models.recognizer import Recognizer


def identify(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE…")],
    gallery: GalleryFile = None,
    far: Annotated[
        float | None,
        typer.Option(help="False-accept rate whose threshold is taken (default: 0.001, or the lowest there is)."),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Cosine, instead of --far.", min=-1, max=1)] = None,
    top: Annotated[int, typer.Option(help="How many names per image.", min=1)] = 5,
    strategy: Annotated[
        str,
        typer.Option(
            help="nearest (image), mean (of a name's images), vote (of the nearest images) or centers (of the model)."
        ),
    ] = "nearest",
    label: Annotated[list[str] | None, typer.Option(help="Only this name; may be repeated.", metavar="NAME")] = None,
    where: Annotated[
        str | None, typer.Option(help="A JSON object: only names with these metadata.", metavar="JSON")
    ] = None,
    json: Json = False,
) -> None:
    """Say who or what of the gallery is on an image, or "unknown", or "ambiguous".

    The threshold is the gallery's own where 'steradian gallery calibrate' made one, and else the model's.

    Examples:

    \b
      steradian identify runs/photos holiday.jpg
      steradian identify runs/photos holiday/ --far 0.01 --json
      steradian identify runs/photos gate.jpg --where '{"site": "north"}'
      steradian identify runs/photos gate.jpg --label Ada --label Ben
      steradian identify glyphs drawn.png --gallery symbols.db
    """
    import math

    from steradian.data.image_files import image_files, in_parts
    from steradian.errors import DataError, UsageError
    from steradian.gallery import Gallery
    from steradian.gallery.decision import as_answer
    from steradian.models.calibration import FAR

    files, only = image_files(images), json_object("--where", where)
    if not files:
        raise UsageError("No image was named: the folders hold none.")
    readable: list[Path] = []
    found: list[Decision] = []
    failures: list[tuple[Path, str]] = []
    with Gallery.open(existing_gallery(run, gallery), _model(run, strategy)) as opened:
        if far is None and threshold is None and strategy != "centers":
            far = opened.threshold().far
            if not math.isclose(far, FAR):
                say(f"! There is no threshold for a false-accept rate of {FAR:g}: taken is the one for {far:g}.")
        for part in in_parts(files, opened.recognizer.preprocessing.shortest):
            readable += part.files
            failures += part.failures
            found += opened.identify(
                part.pixels, top=top, far=far, threshold=threshold, strategy=strategy, labels=label, where=only
            )
    if json:
        answers = [as_answer(str(file), answer) for file, answer in zip(readable, found, strict=True)]
        print_json({"answers": answers, "failures": [{"image": str(file), "reason": why} for file, why in failures]})
    else:
        for file, answer in zip(readable, found, strict=True):
            print(f"{file}\n  {_in_words(answer)}")
            if answer.matches:
                print(columns([(f"  {match.label}", f"{match.similarity:.3f}") for match in answer.matches]))
    for file, why in failures:
        say(f"Error: {file}: {why}")
    if failures:
        raise DataError(f"{len(failures)} of {len(files)} images could not be read.")


def _model(run: str, strategy: str) -> str | Recognizer:
    """The ``run``, or its model by torch where class centers are asked for, which an export does not hold."""
    if strategy != "centers":
        return run
    from steradian.models.recognizer import Recognizer

    return Recognizer.load(run)


def _in_words(answer: Decision) -> str:
    limit = f"threshold {answer.threshold:.3f}"
    if answer.decision == "match":
        return f"{answer.label} (cosine {answer.similarity:.3f}, {limit})"
    if answer.decision == "ambiguous":
        return f"ambiguous: {answer.matches[0].label} or {answer.matches[1].label} ({limit})"
    return f"unknown: nothing known reaches the {limit}"
