"""Implement ``steradian evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli import completion
from steradian.cli.measure import Distance, measure_table, print_measurement
from steradian.cli.output import bullets, columns, print_json, print_verdict
from steradian.cli.settings import All, ExistOk, Json, Root, check_paths, list_of
from steradian.errors import UsageError
from steradian.waiting import waiting


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Run or model folder.", metavar="[RUN]", autocompletion=completion.model_names)
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Images to measure on (default: the run's own test images).",
            metavar="[DATA]",
            autocompletion=completion.data_names,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Measure this table of predictions: id,label,prediction,score, or one column per class."),
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Measure this table of scored pairs: a,b,same,score.")] = None,
    distance: Distance = False,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure only these, separated by commas: closed, calibration, neighbors, clustering, verification, "
            "identification, retrieval, open_set, landmarks, geometry.",
            metavar="A,B,…",
            autocompletion=completion.protocols,
        ),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Measure verification on this list of pairs, in the format of LFW's pairs.txt.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="With --pairs: add the embedding of the mirror image.")] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="With --pairs: leave out pairs whose images are missing.")
    ] = False,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate",
            help="Afterwards fit probabilities and thresholds on DATA, labeled images of a new place, and save them.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: RUN/evaluation, FILE-evaluation).")
    ] = None,
    root: Root = None,
    exist_ok: ExistOk = False,
    everything: All = False,
    json: Json = False,
) -> None:
    """Measure a model, or the predictions of any classifier, and write a report.

    The report has metrics with confidence intervals, curves and the worst mistakes. Without DATA, the run's own test
    images are used. With DATA, its test images are used if it has a test part, and otherwise all images. Images of
    classes that the model does not know count as unknown. The report lists every promise of the model (rates of pairs
    and strangers, sets, known) beside what was kept, and how unlike the images are to those it was calibrated on.
    --predictions and --scores need no model: they measure the
    output of any classifier or matcher, from CSV or parquet.

    Examples:

    \b
      steradian evaluate runs/digits
      steradian evaluate runs/photos new-photos/ --out runs/photos-new
      steradian evaluate runs/photos new-photos/ --protocol verification,open_set
      steradian evaluate runs/photos new-camera/ --recalibrate
      steradian evaluate runs/faces lfw/ --pairs pairs.txt --flip
      steradian evaluate --predictions answers.csv --out answers
      steradian evaluate --scores pairs.csv --out pairs
    """
    tables = [path for path in (predictions, scores) if path is not None]
    if len(tables) + (run is not None) != 1:
        raise UsageError("Expected exactly one of RUN, --predictions FILE and --scores FILE.")
    if pairs is None and (flip or skip_missing):
        raise UsageError("--flip and --skip-missing go with --pairs. Add --pairs FILE.")
    if recalibrate and (data is None or protocol is not None or pairs is not None):
        raise UsageError("--recalibrate needs DATA, and measures everything: leave out --protocol and --pairs.")
    for option, value in (("--root", root), ("--protocol", protocol), ("--pairs", pairs)):
        if run is None and value is not None:
            raise UsageError(f"{option} works only with a RUN: a table has no images. Remove {option}.")
    if pairs is not None and (data is None or protocol is not None):
        raise UsageError("--pairs needs DATA, the folder with its images, and measures verification alone.")
    if distance and scores is None:
        raise UsageError("--distance says what the scores of --scores FILE are. Leave it out.")
    check_paths(run, data, table=tables[0] if tables else None)
    if run is None:
        measure_table(tables[0], "scores" if scores is not None else "predictions", out, exist_ok, json, distance)
        return
    if pairs is not None and data is not None:
        from steradian.studies.evaluation.listed_pairs import measure_listed_pairs

        measurement = measure_listed_pairs(
            run,
            data,
            pairs,
            out=out if out is not None else run / f"{pairs.stem}-evaluation",
            root=root,
            flip=flip,
            skip_missing=skip_missing,
            exist_ok=exist_ok or out is None,
            quiet=json,
        )
        print_measurement(measurement, json)
        return
    with waiting("starting", quiet=json):
        from steradian.studies.evaluation import report
        from steradian.studies.evaluation.promises import promises_in_words, unlikeness

    folder = out if out is not None else report.evaluation_folder(run, data)
    names = list_of(protocol) if protocol is not None else None
    result = report.evaluate(
        run,
        data,
        out=out,
        root=root,
        protocols=names,
        recalibrate=recalibrate,
        exist_ok=exist_ok,
        quiet=json,
    )
    if json:
        numbers = {**result.metrics.numbers, "notes": list(result.notes), "part": result.part}
        print_json({**numbers, "report": str(folder / "report.html")})
        return
    print_verdict(result.verdict)
    print(f"measured on {result.part} of {result.provenance['data']['source']}")
    promises = promises_in_words(result.metrics.numbers)
    if everything or names is not None:
        print(f"\n{columns(report.headlines_in_words(result))}")
        if promises:
            print(f"\n{columns(promises)}")
    sentence = unlikeness(result.metrics.numbers["promises"]) if promises and everything else None
    bullets([*([sentence] if sentence is not None else []), *result.notes], "note:")
    if recalibrate:
        print(f"\nThe model's probabilities and thresholds are now those of {data}; its id is the same.")
    print(f"\nreport  {folder / 'report.html'}")
