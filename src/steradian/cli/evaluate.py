"""Implement ``steradian evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steradian.cli.output import bullets, columns, command_line, print_json
from steradian.cli.settings import ExistOk, Json, Root
from steradian.errors import UsageError

if TYPE_CHECKING:
    from steradian.studies.evaluation.tables import Measurement


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run or model folder.", metavar="[RUN]")] = None,
    data: Annotated[
        str | None, typer.Argument(help="Images to measure on (default: the run's own test images).", metavar="[DATA]")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Measure this table of predictions: id,label,prediction,score, or one column per class."),
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Measure this table of scored pairs: a,b,same,score.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Measure only these, separated by commas: closed, calibration, neighbors, clustering, verification, "
            "identification, retrieval, open_set, landmarks, geometry.",
            metavar="A,B,…",
        ),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Measure verification on this list of pairs, in the format of LFW's pairs.txt.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="With --pairs: add the embedding of the mirror image.")] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="With --pairs: leave out pairs whose images are missing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: RUN/evaluation, FILE-evaluation).")
    ] = None,
    root: Root = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure a model, or the predictions of any classifier, and write a report.

    The report has metrics with confidence intervals, curves and the worst mistakes. Without DATA, the run's own test
    images are used. With DATA, its test images are used if it has a test part, and otherwise all images. Images of
    classes that the model does not know count as unknown. --predictions and --scores need no model: they measure the
    output of any classifier or matcher, from CSV or parquet.

    Examples:

    \b
      steradian evaluate runs/digits
      steradian evaluate runs/photos new-photos/ --out runs/photos-new
      steradian evaluate runs/photos new-photos/ --protocol verification,open_set
      steradian evaluate runs/faces lfw/ --pairs pairs.txt --flip
      steradian evaluate --predictions answers.csv --out answers
      steradian evaluate --scores pairs.csv --out pairs
    """
    tables = [path for path in (predictions, scores) if path is not None]
    if len(tables) + (run is not None) != 1:
        raise UsageError("Expected exactly one of RUN, --predictions FILE and --scores FILE.")
    if pairs is None and (flip or skip_missing):
        raise UsageError("--flip and --skip-missing go with --pairs. Add --pairs FILE.")
    for option, value in (("--root", root), ("--protocol", protocol), ("--pairs", pairs)):
        if run is None and value is not None:
            raise UsageError(f"{option} works only with a RUN: a table has no images. Remove {option}.")
    if pairs is not None and (data is None or protocol is not None):
        raise UsageError("--pairs needs DATA, the folder with the images, and cannot be combined with --protocol.")
    if run is not None and pairs is not None and data is not None:
        from steradian.studies.evaluation.listed_pairs import measure_listed_pairs
        from steradian.training.progress import shown

        def measure_pairs() -> Measurement:
            return measure_listed_pairs(
                run, data, pairs, command_line(), root=root, flip=flip, skip_missing=skip_missing, progress=shown
            )

        folder = out if out is not None else run / f"{pairs.stem}-evaluation"
        _measure_and_write(measure_pairs, folder, exist_ok or out is None, json)
    elif run is not None:
        _evaluate_run(run, data, out, root, protocol, exist_ok, json)
    else:
        from steradian.studies import answers

        path = tables[0]
        measure = answers.measure_pairs if scores is not None else answers.measure_answers
        folder = out if out is not None else path.with_name(f"{path.stem}-evaluation")
        _measure_and_write(lambda: measure(path, command_line()), folder, exist_ok, json)


def _measure_and_write(measure: Callable[[], Measurement], folder: Path, exist_ok: bool, json: bool) -> None:
    from steradian.files import check_folder, new_folder
    from steradian.studies.evaluation.glossary import in_words
    from steradian.studies.evaluation.tables import write_measurement

    check_folder(folder, exist_ok=exist_ok)
    measurement = measure()
    new_folder(folder, exist_ok=True)
    write_measurement(measurement, folder)
    if json:
        print_json({**measurement.numbers, "report": str(folder / "report.html")})
        return
    print(columns(in_words(measurement.numbers)))
    bullets(measurement.notes, "note:")
    print(f"\nreport  {folder / 'report.html'}")


def _evaluate_run(
    run: Path, data: str | None, out: Path | None, root: str | None, protocol: str | None, exist_ok: bool, json: bool
) -> None:
    from steradian.files import check_folder, new_folder
    from steradian.studies.evaluation.report import headlines_in_words, write_evaluation
    from steradian.studies.evaluation.run import evaluate as measure
    from steradian.training.progress import shown

    names = None if protocol is None else [part.strip() for part in protocol.split(",") if part.strip()]
    folder = out if out is not None else run / "evaluation"
    check_folder(folder, exist_ok=exist_ok or out is None)
    result = measure(run, data, root, command_line(), shown, names)
    new_folder(folder, exist_ok=True)
    write_evaluation(result, folder)
    if json:
        numbers = {**result.measured.numbers, "notes": list(result.notes), "part": result.part}
        print_json({**numbers, "report": str(folder / "report.html")})
        return
    print(f"measured on {result.part} of {result.provenance['data']['source']}\n")
    print(columns(headlines_in_words(result)))
    bullets(result.notes, "note:")
    print(f"\nreport  {folder / 'report.html'}")
