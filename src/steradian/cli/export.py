"""Implement ``steradian export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steradian.cli import completion
from steradian.cli.output import print_json
from steradian.cli.settings import Json, Run, check_paths
from steradian.waiting import waiting


def export(
    run: Run,
    to: Annotated[
        str,
        typer.Option(
            help="onnx, openvino or pt2 (torch.export).", metavar="FORMAT", autocompletion=completion.export_formats
        ),
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="Folder to write (default: RUN/FORMAT).")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="With the model 'faces': put your own face network in the place of its own, an .onnx file of the kind "
            "that insightface publishes. Whether you may use it is for its license to say.",
            metavar="FILE.onnx",
        ),
    ] = None,
    people: Annotated[
        str | None,
        typer.Option(help="Photos in one folder a person, to measure thresholds with these weights.", metavar="FOLDER"),
    ] = None,
    json: Json = False,
) -> None:
    """Export a model, including its preprocessing, to a format that other runtimes read.

    Labels, temperature and thresholds go into description.json. Before anything is written, the exported model is
    run on photographs, and its embeddings are compared with the original's.

    Examples:

    \b
      steradian export runs/photos --to onnx
      steradian export glyphs --to openvino --out glyphs-openvino
      steradian export faces --weights w600k_r50.onnx --people people/ --out my-faces
    """
    check_paths(run, data=people)
    from steradian.errors import UsageError
    from steradian.extras import require

    extras = {"onnx": "onnx", "openvino": "fast"}
    if to in extras:
        require(extras[to], f"Export to {to}")
    from steradian.models.export import export as write
    from steradian.models.locations import is_name
    from steradian.models.recognizer import Recognizer

    if weights is not None or people is not None:
        if run != "faces" or to != "onnx" or weights is None or out is None:
            raise UsageError("--weights goes with the model faces, --to onnx and --out; --people goes with --weights.")
        from steradian.models.foreign_onnx import wrap
        from steradian.training.progress import progress_unless

        _report(wrap(weights, out, people, progress_unless(json)), to, json)
        return
    if out is None and (is_name(run) or not Path(run).is_dir()):
        raise UsageError(f"{run} is not a folder to write into. Choose one with --out DIR.")
    model = Recognizer.load(run)
    with waiting(f"exporting to {to}", quiet=json):
        path = write(model, out if out is not None else Path(run) / to, to)
    _report(path, to, json)


def _report(path: Path, to: str, json: bool) -> None:
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    if json:
        print_json({"file": str(path), "bytes": size, "format": to})
        return
    print(f"{path}, {size / 1e6:.1f} MB in total; its inputs and outputs: {path.with_name('description.json')}")
