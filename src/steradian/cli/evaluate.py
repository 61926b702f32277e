"""``steradian evaluate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import columns, command_line, print_json
from steradian.cli.settings import ExistOk, Json, Root


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run or model folder.", metavar="RUN")],
    data: Annotated[
        str | None, typer.Argument(help="Images to measure on (default: the run's own test part).", metavar="[DATA]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: RUN/evaluation).")] = None,
    root: Root = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure a trained model: accuracy, neighbors, clusters, verification, and a report.

    On the run's own data the held-out test part is measured; on other data its test part, or all of it.

    Examples:

    \b
      steradian evaluate runs/digits
      steradian evaluate runs/photos new-photos/ --out runs/photos-new
    """
    from steradian.files import check_folder, new_folder
    from steradian.studies.evaluation import evaluate as measure
    from steradian.studies.evaluation import numbers_in_words, write_evaluation
    from steradian.training.progress import shown

    folder = out if out is not None else run / "evaluation"
    check_folder(folder, exist_ok=exist_ok or out is None)
    found = measure(run, data, root, command_line(), shown)
    new_folder(folder, exist_ok=True)
    write_evaluation(found, folder)
    if json:
        print_json({**found.measured.numbers, "part": found.part, "report": str(folder / "report.html")})
        return
    print(f"measured on {found.part} of {found.provenance['data']['source']}\n")
    print(columns(numbers_in_words(found)))
    print(f"\nreport  {folder / 'report.html'}")
