"""Answer for every region of photos, for models that find regions, such as faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steradian.cli.find import MOST_DRAWN, draw
from steradian.cli.output import bullets, columns, fail_for, print_json, say
from steradian.waiting import waiting

if TYPE_CHECKING:
    from steradian.data.image_files import ImageFiles
    from steradian.gallery import Decision, Gallery
    from steradian.gallery.photos import RegionAnswer
    from steradian.plots.regions import Marked


@dataclass
class Photos:
    """Answers by photo, those that cannot be read, and the first ones ready to be drawn."""

    answers: list[tuple[Path, list[RegionAnswer]]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    drawn: list[Marked] = field(default_factory=list)


def identify_photos(
    opened: Gallery, files: Sequence[Path], repeated: bool, asked: Mapping[str, Any], quiet: bool
) -> Photos:
    """Identify the regions of photos, one photo at a time; ``asked``: what `photos.identify_photo` takes besides."""
    from steradian.data.image_files import read_images
    from steradian.gallery.photos import identify_photo, marked

    photos = Photos()
    for file in files:
        read = read_images([file], opened.recognizer.preprocessing.shortest)
        photos.failures += [(str(name), reason) for name, reason in read.failures]
        for pixels in read.pixels:
            with waiting(f"searching {file.name}", quiet=quiet):
                answers = identify_photo(opened, pixels, repeated=repeated, **asked)
            photos.answers.append((file, answers))
            if len(photos.drawn) < MOST_DRAWN:
                photos.drawn.append(marked(pixels, answers, file.name))
    return photos


def report_photos(photos: Photos, found: ImageFiles, out: Path | None, json: bool) -> None:
    """Print the answers, and draw them into ``out``. Raises `DataError` if a photo could not be read."""
    if out is not None and photos.drawn:
        draw(out, photos.drawn)
    if json:
        answers = [
            {"image": str(file), "regions": [one.as_answer() for one in regions]} for file, regions in photos.answers
        ]
        failed = [{"image": name, "reason": reason} for name, reason in photos.failures]
        picture = {"picture": str(out)} if out is not None and photos.drawn else {}
        print_json({"answers": answers, "failures": failed, "notes": list(found.notes), **picture})
    else:
        for file, regions in photos.answers:
            print(file)
            rows = [
                (f"  {number}", in_words(one), f"{one.quality.side:.0f} pixels")
                for number, one in enumerate(regions, start=1)
            ]
            print(columns(rows, longest=100) if rows else "  nothing found")
        if out is not None and photos.drawn:
            more = f", the first {MOST_DRAWN} of {len(photos.answers):,}" if len(photos.answers) > MOST_DRAWN else ""
            print(f"picture {out}{more}")
    if out is not None and not photos.drawn:
        say(f"! {out} is not drawn: no photo could be read.")
    bullets(found.notes, "!")
    fail_for(photos.failures, len(found.files), "read")


def in_words(answer: RegionAnswer) -> str:
    """Return the answer about a region in words."""
    said = describe_decision(answer.decision)
    if answer.elsewhere is None or answer.decision.decision == "poor":
        return said
    if answer.decision.decision == "unknown":
        return f"unknown: {answer.elsewhere} is another region, and nobody else is like this one"
    return f"{said}; {answer.elsewhere} is another region"


def describe_decision(decision: Decision) -> str:
    """Return a decision in words."""
    threshold = f"threshold {decision.threshold:.3f}"
    if decision.decision == "match":
        return f"{decision.label} (similarity {decision.similarity:.3f}, {threshold})"
    if decision.decision == "ambiguous":
        return f"ambiguous: {decision.matches[0].label} or {decision.matches[1].label} ({threshold})"
    if decision.decision == "poor":
        return "too poor to tell: blurred, covered, or too small"
    return f"unknown: no enrolled identity reaches the {threshold}"
