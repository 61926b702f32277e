"""``steradian measure``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from steradian.cli.output import bullets, columns, print_json
from steradian.cli.settings import ExistOk, Json, check_paths
from steradian.errors import UsageError
from steradian.waiting import waiting

if TYPE_CHECKING:
    from steradian.studies.evaluation.tables import Measurement

Kind = Literal["predictions", "scores"]
Distance = Annotated[
    bool, typer.Option("--distance", help="Scores are distances: smaller for pairs that are more alike.")
]


def measure(
    file: Annotated[Path, typer.Argument(help="A table, CSV or parquet.", metavar="FILE")],
    kind: Annotated[
        Kind | None,
        typer.Option("--as", help="What the table holds (default: detected from its columns).", metavar="KIND"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results (default: FILE-evaluation).")] = None,
    distance: Distance = False,
    exist_ok: ExistOk = False,
    json: Json = False,
) -> None:
    """Measure the output of any classifier or matcher from a table, and write a report. No model is needed.

    A table of predictions has the columns id,label,prediction,score, or one column of probabilities per class. A table
    of scored pairs has the columns a,b,same,score.

    Examples:

    \b
      steradian measure answers.csv
      steradian measure pairs.parquet --as scores --out pairs
    """
    check_paths(table=file)
    with waiting("starting", quiet=json):
        from steradian.studies.evaluation.tables import kind_of

    measure_table(file, kind or kind_of(file), out, exist_ok, json, distance)


def measure_table(file: Path, kind: Kind, out: Path | None, exist_ok: bool, json: bool, distance: bool) -> None:
    """Measure a table of ``kind`` and print its numbers."""
    from steradian.studies.evaluation.tables import measure_predictions, measure_scores

    if distance and kind != "scores":
        raise UsageError("--distance says what the scores of pairs are. Leave it out for predictions.")
    with waiting(f"measuring {file}", quiet=json):
        if kind == "scores":
            measurement = measure_scores(file, out=out, exist_ok=exist_ok, distance=distance)
        else:
            measurement = measure_predictions(file, out=out, exist_ok=exist_ok)
    print_measurement(measurement, json)


def print_measurement(measurement: Measurement, json: bool) -> None:
    """Print the numbers of a measurement and where its report is."""
    from steradian.studies.evaluation.glossary import in_words

    report = measurement.folder / "report.html"
    if json:
        print_json({**measurement.numbers, "report": str(report)})
        return
    print(columns(in_words(measurement.numbers)))
    bullets(measurement.notes, "note:")
    print(f"\nreport  {report}")
