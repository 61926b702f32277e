"""``steradian identify``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.places import GalleryFile, Run, gallery_of
from steradian.cli.settings import Json

if TYPE_CHECKING:
    from steradian.gallery import Decision

AT_ONCE = 64


def identify(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE…")],
    gallery: GalleryFile = None,
    far: Annotated[float, typer.Option(help="False-accept rate whose threshold is taken.")] = 1e-3,
    threshold: Annotated[float | None, typer.Option(help="Cosine, instead of --far.", min=-1, max=1)] = None,
    top: Annotated[int, typer.Option(help="How many names per image.", min=1)] = 5,
    strategy: Annotated[
        str, typer.Option(help="nearest (image), mean (of a name's images) or vote (of the nearest images).")
    ] = "nearest",
    json: Json = False,
) -> None:
    """Say who or what of the gallery is on an image, or "unknown", or "ambiguous".

    The threshold is the gallery's own where 'steradian gallery calibrate' made one, and else the model's.

    Examples:

    \b
      steradian identify runs/photos holiday.jpg
      steradian identify runs/photos holiday/ --far 0.01 --json
      steradian identify glyphs drawn.png --gallery symbols.db
    """
    from steradian.data.decode import decode
    from steradian.errors import DataError
    from steradian.gallery import Gallery
    from steradian.studies.naming import image_files

    files = image_files(images)
    readable, found, failures = [], [], []
    with Gallery.open(gallery_of(run, gallery), run) as opened:
        shortest = opened.recognizer.spec.preprocessing.shortest
        for start in range(0, len(files), AT_ONCE):
            pixels = []
            for file in files[start : start + AT_ONCE]:
                try:
                    pixels.append(decode(file, shortest))
                    readable.append(file)
                except DataError as error:
                    failures.append((file, str(error)))
            found += opened.identify(pixels, top=top, far=far, threshold=threshold, strategy=strategy)
    if json:
        answers = [as_json(file, answer) for file, answer in zip(readable, found, strict=True)]
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


def as_json(image: Path | str, answer: Decision) -> dict[str, Any]:
    """An answer as plain values."""
    matches = [
        {"label": match.label, "similarity": match.similarity, "probability": match.probability}
        for match in answer.matches
    ]
    return {
        "image": str(image),
        "decision": answer.decision,
        "label": answer.label,
        "similarity": answer.similarity,
        "threshold": answer.threshold,
        "probability": answer.probability,
        "matches": matches,
    }


def _in_words(answer: Decision) -> str:
    limit = f"threshold {answer.threshold:.3f}"
    if answer.decision == "match":
        return f"{answer.label} (cosine {answer.similarity:.3f}, {limit})"
    if answer.decision == "ambiguous":
        return f"ambiguous: {answer.matches[0].label} or {answer.matches[1].label} ({limit})"
    return f"unknown: nobody enrolled reaches the {limit}"
