"""``steradian classify``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import columns, print_json, say
from steradian.cli.settings import Json


def classify(
    run: Annotated[Path, typer.Argument(help="Run or model folder.", metavar="RUN")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE…")],
    top: Annotated[int, typer.Option(help="How many answers per image.", min=1)] = 5,
    json: Json = False,
) -> None:
    """Name images, the most probable class first.

    Examples:

    \b
      steradian classify runs/photos cat.jpg dog.png --top 3
      steradian classify runs/photos holiday/ --json
    """
    from steradian.errors import DataError, UsageError
    from steradian.models.recognizer import Recognizer
    from steradian.studies.naming import image_files, name_images

    model = Recognizer.load(run)
    files = image_files(images)
    if not files:
        raise UsageError("No image was named: the folders hold none.")
    answers, failures = name_images(model, files, top)
    if json:
        print_json({"answers": answers, "failures": failures})
    else:
        for answer in answers:
            print(answer["image"])
            rows = [(f"  {item['label']}", f"{item['probability']:.1%}") for item in answer["ranking"]]
            print(columns(rows))
        if answers and not answers[0]["calibrated"]:
            say("Probabilities are not calibrated: their order is sound, their size is a guess.")
    for failure in failures:
        say(f"Error: {failure['image']}: {failure['reason']}")
    if failures:
        raise DataError(f"{len(failures)} of {len(files)} images could not be named.")
