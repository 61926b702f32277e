"""``steradian evaluate``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steradian.cli.output import bullets, columns, command_line, print_json
from steradian.cli.settings import ExistOk, Json, Root
from steradian.errors import UsageError

if TYPE_CHECKING:
    from steradian.studies.answers import Measurement


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
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Only these, separated by commas: closed, calibration, neighbors, clustering, verification, "
            "identification, retrieval, open_set, landmarks, geometry.",
            metavar="A,B,…",
        ),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Verify the pairs of this list, in the format of LFW's pairs.txt.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="With --pairs: add the embedding of the mirror image.")] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="With --pairs: leave out pairs whose images are not there.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: RUN/evaluation, FILE-evaluation).")
    ] = None,
    root: Root = None,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure a trained model, or anybody's answers: numbers with intervals, curves, the worst mistakes, in a report.

    On the run's own data the held-out test part is measured; on other data its test part, or all of it. Images of
    classes that the model does not know count as unknown. With --predictions or --scores no model is needed: the
    answers of any classifier or matcher are measured, from CSV or parquet.

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
        raise UsageError("name one of RUN, --predictions FILE and --scores FILE.")
    if pairs is None and (flip or skip_missing):
        raise UsageError("--flip and --skip-missing go with --pairs.")
    for option, value in (("--root", root), ("--protocol", protocol), ("--pairs", pairs)):
        if run is None and value is not None:
            raise UsageError(f"{option} is for a RUN; a table of answers has no images.")
    if pairs is not None and (data is None or protocol is not None):
        raise UsageError("--pairs needs DATA, the folder of its images, and measures verification alone.")
    if run is not None and pairs is not None and data is not None:
        from steradian.studies.pairs import measure_listed_pairs
        from steradian.training.progress import shown

        def measure_pairs() -> Measurement:
            return measure_listed_pairs(
                run, data, pairs, command_line(), root=root, flip=flip, skip_missing=skip_missing, progress=shown
            )

        folder = out if out is not None else run / f"{pairs.stem}-evaluation"
        _write(measure_pairs, folder, exist_ok or out is None, json)
    elif run is not None:
        _evaluate_run(run, data, out, root, protocol, exist_ok, json)
    else:
        from steradian.studies import answers

        path = tables[0]
        measure = answers.measure_pairs if scores is not None else answers.measure_answers
        folder = out if out is not None else path.with_name(f"{path.stem}-evaluation")
        _write(lambda: measure(path, command_line()), folder, exist_ok, json)


def _write(measure: Callable[[], Measurement], folder: Path, exist_ok: bool, json: bool) -> None:
    from steradian.files import check_folder, new_folder
    from steradian.studies.answers import write_measurement
    from steradian.studies.words import in_words

    check_folder(folder, exist_ok=exist_ok)
    found = measure()
    new_folder(folder, exist_ok=True)
    write_measurement(found, folder)
    if json:
        print_json({**found.numbers, "report": str(folder / "report.html")})
        return
    print(columns(in_words(found.numbers)))
    bullets(found.notes, "note:")
    print(f"\nreport  {folder / 'report.html'}")


def _evaluate_run(
    run: Path, data: str | None, out: Path | None, root: str | None, protocol: str | None, exist_ok: bool, json: bool
) -> None:
    from steradian.files import check_folder, new_folder
    from steradian.studies.evaluation import evaluate as measure
    from steradian.studies.evaluation_report import headlines_in_words, write_evaluation
    from steradian.training.progress import shown

    names = None if protocol is None else [part.strip() for part in protocol.split(",") if part.strip()]
    folder = out if out is not None else run / "evaluation"
    check_folder(folder, exist_ok=exist_ok or out is None)
    found = measure(run, data, root, command_line(), shown, names)
    new_folder(folder, exist_ok=True)
    write_evaluation(found, folder)
    if json:
        numbers = {**found.measured.numbers, "notes": list(found.notes), "part": found.part}
        print_json({**numbers, "report": str(folder / "report.html")})
        return
    print(f"measured on {found.part} of {found.provenance['data']['source']}\n")
    print(columns(headlines_in_words(found)))
    bullets(found.notes, "note:")
    print(f"\nreport  {folder / 'report.html'}")
