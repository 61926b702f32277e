"""Implement ``steradian classify``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steradian.cli.output import bullets, columns, fail_for, print_json, say
from steradian.cli.settings import Images, Json, Run, check_paths
from steradian.errors import UsageError
from steradian.percentages import percent
from steradian.waiting import waiting


def classify(
    run: Run,
    images: Images,
    coverage: Annotated[
        float, typer.Option(help="Probability that the candidate set contains the true class: 0.8, 0.9, 0.95 or 0.99.")
    ] = 0.95,
    top: Annotated[int, typer.Option(help="Number of classes to list per image.", min=1)] = 5,
    json: Json = False,
) -> None:
    """Classify images and list the most probable classes first.

    Examples:

    \b
      steradian classify runs/photos cat.jpg dog.png --top 3
      steradian classify runs/photos holiday/ --json
    """
    check_paths(run, images=images)
    with waiting("starting", quiet=json):
        from steradian.data.image_files import image_files, in_parts
        from steradian.models.recognizer import Recognizer

        model = Recognizer.load(run)
    if len(model.classes) == 1:
        raise UsageError(
            f"{run} knows a single class, {model.classes[0]!r}, so that there is nothing to choose from. Enroll names "
            "and ask: steradian enroll, then steradian identify."
        )
    found = image_files(images)
    answers: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    for part in in_parts(found.files, model.preprocessing.shortest):
        failures += [(str(file), reason) for file, reason in part.failures]
        results = model.classify(part.pixels, top=top, coverage=coverage)
        answers += [result.as_answer(str(file)) for file, result in zip(part.files, results, strict=True)]
    if json:
        failed = [{"image": name, "reason": reason} for name, reason in failures]
        print_json({"answers": answers, "failures": failed, "notes": list(found.notes)})
    else:
        for answer in answers:
            print(answer["image"])
            rows = [(f"  {item['label']}", percent(item["probability"])) for item in answer["ranking"]]
            print(columns(rows))
            if answer["candidates"] is not None:
                print(f"  {_describe_candidates(answer)}")
        if answers and not answers[0]["calibrated"]:
            say("The probabilities are not calibrated: trust their order, not their values.")
    bullets(found.notes, "!")
    fail_for(failures, len(found.files), "classified")


def _describe_candidates(answer: dict[str, Any]) -> str:
    share, names = f"{100 * answer['coverage']:g} %", answer["candidates"]
    if not answer["known"]:
        return f"Possibly none of these: {share} of the images of known classes are nearer to a class than this one."
    shown = {item["label"]: f" ({percent(item['probability'])})" for item in answer["ranking"]}
    listed = ", ".join(name + shown.get(name, "") for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"One of: {listed}{more}. The true class is in this list {share} of the time."
