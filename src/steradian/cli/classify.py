"""``steradian classify``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.settings import Json


def classify(
    run: Annotated[Path, typer.Argument(help="Run or model folder.", metavar="RUN")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE…")],
    coverage: Annotated[
        float, typer.Option(help="Chance that the set of candidates holds the truth: 0.8, 0.9, 0.95 or 0.99.")
    ] = 0.95,
    top: Annotated[int, typer.Option(help="How many answers per image.", min=1)] = 5,
    json: Json = False,
) -> None:
    """Name images, the most probable class first.

    Examples:

    \b
      steradian classify runs/photos cat.jpg dog.png --top 3
      steradian classify runs/photos holiday/ --json
    """
    from steradian.data.image_files import image_files
    from steradian.errors import DataError, UsageError
    from steradian.models.recognizer import Recognizer
    from steradian.studies.naming import name_images

    model = Recognizer.load(run)
    files = image_files(images)
    if not files:
        raise UsageError("No image was named: the folders hold none.")
    answers, failures = name_images(model, files, top, coverage)
    if json:
        print_json({"answers": answers, "failures": failures})
    else:
        for answer in answers:
            print(answer["image"])
            rows = [(f"  {item['label']}", f"{item['probability']:.1%}") for item in answer["ranking"]]
            print(columns(rows))
            if answer["candidates"] is not None:
                print(f"  {_in_words(answer)}")
        if answers and not answers[0]["calibrated"]:
            say("Probabilities are not calibrated: their order is sound, their size is a guess.")
    for failure in failures:
        say(f"Error: {failure['image']}: {failure['reason']}")
    if failures:
        raise DataError(f"{len(failures)} of {len(files)} images could not be named.")


def _in_words(answer: dict[str, Any]) -> str:
    sure, names = f"{answer['coverage']:.0%} sure", answer["candidates"]
    if not answer["known"]:
        return "perhaps none of these: few images of a known class are as far from all of them"
    if len(names) == 1:
        return f"{sure} it is {names[0]}"
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{sure} it is one of these {len(names)}: {listed}"
