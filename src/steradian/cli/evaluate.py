"""``steradian evaluate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli.output import bullets, columns, command_line, print_json
from steradian.cli.settings import ExistOk, Json, Root
from steradian.errors import UsageError


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run or model folder.", metavar="[RUN]")] = None,
    data: Annotated[
        str | None, typer.Argument(help="Images to measure on (default: the run's own test part).", metavar="[DATA]")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Measure this table of answers instead: id,label,prediction,score or a column per class."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Measure this table of scored pairs instead: a,b,same,score.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: RUN/evaluation, FILE-evaluation).")
    ] = None,
    root: Root = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure a trained model: accuracy, neighbors, clusters, verification, and a report.

    On the run's own data the held-out test part is measured; on other data its test part, or all of it. With
    --predictions or --scores no model is needed: the answers of any classifier or matcher are measured, from CSV or
    parquet.

    Examples:

    \b
      steradian evaluate runs/digits
      steradian evaluate runs/photos new-photos/ --out runs/photos-new
      steradian evaluate --predictions answers.csv --out answers
      steradian evaluate --scores pairs.csv --out pairs
    """
    tables = [path for path in (predictions, scores) if path is not None]
    if len(tables) + (run is not None) != 1:
        raise UsageError("name one of RUN, --predictions FILE and --scores FILE.")
    if run is not None:
        _evaluate_run(run, data, out, root, exist_ok, json)
    elif root is not None:
        raise UsageError("--root is for a RUN; a table of answers has no images.")
    else:
        _evaluate_table(tables[0], scores is not None, out, exist_ok, json)


def _evaluate_table(path: Path, pairs: bool, out: Path | None, exist_ok: bool, json: bool) -> None:
    from steradian.files import check_folder, new_folder
    from steradian.studies.answers import measure_answers, measure_pairs, numbers_in_words, write_measurement

    folder = out if out is not None else path.with_name(f"{path.stem}-evaluation")
    check_folder(folder, exist_ok=exist_ok)
    found = (measure_pairs if pairs else measure_answers)(path, command_line())
    new_folder(folder, exist_ok=True)
    write_measurement(found, folder)
    if json:
        print_json({**found.numbers, "report": str(folder / "report.html")})
        return
    print(columns(numbers_in_words(found)))
    bullets(found.notes, "note:")
    print(f"\nreport  {folder / 'report.html'}")


def _evaluate_run(run: Path, data: str | None, out: Path | None, root: str | None, exist_ok: bool, json: bool) -> None:
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
