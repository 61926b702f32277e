"""Implement ``steradian find``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steradian.cli.output import bullets, columns, fail_for, print_json, say
from steradian.cli.settings import Images, Json, check_paths, check_png
from steradian.errors import DataError
from steradian.waiting import waiting

if TYPE_CHECKING:
    from steradian.data.model_input import Pixels
    from steradian.finding.regions import Quality, Region
    from steradian.plots.regions import Marked

MOST_DRAWN = 12
"""Most pictures that --out draws."""

SIZE = 150
"""Pixels per side of the cut-out regions whose sharpness is measured."""


def find(
    images: Images,
    finder: Annotated[
        str,
        typer.Option(help="What to find: 'faces', 'center', 'whole', or a finder of an installed package."),
    ] = "faces",
    out: Annotated[
        Path | None,
        typer.Option(help=f"Draw the regions into this new .png, of at most {MOST_DRAWN} pictures.", metavar="PNG"),
    ] = None,
    json: Json = False,
) -> None:
    """Find the regions of pictures, such as faces, and tell where they are and how well they can be seen.

    Nothing is recognized, and nothing is kept. Boxes are left, top, right and bottom in pixels.

    Examples:

    \b
      steradian find party.jpg --out faces.png
      steradian find holiday/ --json
      steradian find sign.jpg --finder center
    """
    check_paths(images=images)
    if out is not None:
        check_png(out, "--out")
    with waiting("starting", quiet=json):
        from steradian.data.decode import decode
        from steradian.data.image_files import image_files
        from steradian.finding import finders
        from steradian.finding.regions import Quality

        found_by = finders.finder(finder)
    listed = image_files(images)
    answers: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    drawn: list[Marked] = []
    for file in listed.files:
        try:
            pixels = decode(file)
        except DataError as error:
            failures.append((str(file), str(error)))
            continue
        with waiting(f"searching {file.name}", quiet=json):
            regions = finders.find(pixels, found_by)
            squares = [finders.cut(pixels, region, SIZE, finders.template_of(found_by)) for region in regions]
            seen = [Quality.of(region, square, pixels) for region, square in zip(regions, squares, strict=True)]
        answers.append(_as_answer(file, pixels, regions, seen))
        if out is not None and len(drawn) < MOST_DRAWN:
            drawn.append(_marked(file, pixels, regions))
        if not json:
            _print(file, regions, seen, finder)
    if out is not None and drawn:
        draw(out, drawn)
    if json:
        failed = [{"image": name, "reason": reason} for name, reason in failures]
        picture = {"picture": str(out)} if out is not None and drawn else {}
        print_json({"answers": answers, "failures": failed, "notes": list(listed.notes), **picture})
    elif out is not None and drawn:
        more = f", the first {MOST_DRAWN} of {len(answers):,}" if len(answers) > MOST_DRAWN else ""
        print(f"picture {out}{more}")
    elif out is not None:
        say(f"! {out} is not drawn: no picture could be read.")
    bullets(listed.notes, "!")
    fail_for(failures, len(listed.files), "read")


def _as_answer(file: Path, pixels: Pixels, regions: tuple[Region, ...], seen: list[Quality]) -> dict[str, Any]:
    from steradian.finding.regions import region_answer

    height, width = pixels.shape[:2]
    return {
        "image": str(file),
        "width": width,
        "height": height,
        "regions": [region_answer(region, quality) for region, quality in zip(regions, seen, strict=True)],
    }


def _print(file: Path, regions: tuple[Region, ...], seen: list[Quality], finder: str) -> None:
    print(file)
    if not regions:
        print(f"  nothing found by {finder!r}")
        return
    rows = []
    for number, (region, quality) in enumerate(zip(regions, seen, strict=True), start=1):
        edges = ", ".join(f"{edge:.0f}" for edge in region.box)
        turned = f"the picture is turned by {90 * region.turned} degrees" if region.turned else ""
        values = f"{quality.side:.0f}", f"{quality.score:.2f}", f"{quality.sharpness:.2f}", f"{quality.inside:.0%}"
        rows.append((f"  {number}", edges, *values, turned))
    print(columns(rows, ("  ", "left, top, right, bottom", "pixels", "score", "sharpness", "inside", "")))


def _marked(file: Path, pixels: Pixels, regions: tuple[Region, ...]) -> Marked:
    from steradian.plots.regions import Marked

    labels = [str(number) for number in range(1, len(regions) + 1)]
    boxes, points = [region.box for region in regions], [region.points for region in regions]
    count = f"{len(regions)} region{'s' * (len(regions) != 1)}"
    return Marked(pixels, boxes, labels, points, f"{file.name}: {count}")


def draw(path: Path, pictures: list[Marked]) -> None:
    """Draw pictures with their regions below each other into ``path``."""
    from steradian.files import atomic_file
    from steradian.plots.regions import drawn

    with atomic_file(path) as temporary:
        temporary.write_bytes(drawn(pictures))
