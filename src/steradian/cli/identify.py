"""Implement ``steradian identify``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steradian.cli.identify_photos import describe_decision, identify_photos, report_photos
from steradian.cli.identify_videos import are_videos, identify_videos, report_videos
from steradian.cli.output import bullets, columns, fail_for, print_json, say, wrapped
from steradian.cli.settings import (
    Far,
    GalleryFile,
    Images,
    Json,
    Run,
    Strangers,
    check_paths,
    check_png,
    existing_gallery,
    json_object,
)
from steradian.errors import UsageError
from steradian.waiting import waiting

if TYPE_CHECKING:
    from steradian.gallery import Decision
    from steradian.gallery.explaining import Explanation
    from steradian.gallery.strangers import StrangerThreshold
    from steradian.models.recognizer import Recognizer

MOST_EXPLAINED = 12
"""Most answers that --explain draws."""

EXPECTED = 4
"""Regions that a photo is taken to have when the quickest way to embed them is chosen."""

MANY = 1000
"""Frames that a video is taken to have then."""


def identify(
    run: Run,
    images: Images,
    gallery: GalleryFile = None,
    strangers: Strangers = None,
    far: Far = None,
    threshold: Annotated[float | None, typer.Option(help="Cosine threshold, instead of a rate.", min=-1, max=1)] = None,
    top: Annotated[int, typer.Option(help="Number of names to list per image.", min=1)] = 5,
    strategy: Annotated[
        str,
        typer.Option(
            help="nearest (image), mean (of a name's images), blended (the nearest image, each mixed with that mean), "
            "vote (of the nearest images), centers (of classes), or auto: nearest, mean or blended, whichever names "
            "more of the gallery's own images right."
        ),
    ] = "auto",
    label: Annotated[list[str] | None, typer.Option(help="Search only this name. Repeatable.", metavar="NAME")] = None,
    where: Annotated[
        str | None, typer.Option(help="A JSON object: search only names with this metadata.", metavar="JSON")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help=f"Draw into this new .png which parts the answers rest on, of at most {MOST_EXPLAINED} images.",
            metavar="PNG",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of a model that finds regions, such as faces: draw them with their names into this new .png.",
            metavar="PNG",
        ),
    ] = None,
    repeated: Annotated[
        bool,
        typer.Option(
            "--repeated", help="Several regions of a photo may have one name, as in a mirror; otherwise each name once."
        ),
    ] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="The images are the frames of one video, in the order of their names.")
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds from one frame of a video to the next that is looked at; 0: all.", min=0)
    ] = 0.2,
    json: Json = False,
) -> None:
    """Identify images: name the enrolled identity, or answer "unknown" or "ambiguous".

    A model that finds regions, such as faces, gives one answer for each of them, or "too poor to tell"; in videos
    (.mp4 and others) it follows them from frame to frame, and gives one answer for each track.

    At most the share --strangers of people who are not enrolled is given a name. The threshold follows the gallery: it
    is measured on its own images, each asked as a stranger, and in small galleries also on classes that the model was
    not trained on. --far is a rate of pairs instead, as 'steradian verify' uses it.

    Examples:

    \b
      steradian identify runs/photos holiday.jpg
      steradian identify runs/photos holiday.jpg --explain parts.png
      steradian identify runs/photos holiday/ --strangers 0.001 --json
      steradian identify runs/photos gate.jpg --where '{"site": "north"}'
      steradian identify runs/photos gate.jpg --label Ada --label Ben
      steradian identify glyphs drawn.png --gallery symbols.db
      steradian identify faces party.jpg --gallery people.db --out marked.png
      steradian identify faces party.mp4 --gallery people.db --out tracks.png
    """
    check_paths(run, images=images)
    if out is not None:
        check_png(out, "--out")
    if explain is not None:
        check_png(explain, "--explain")
        if strategy == "centers":
            raise UsageError(
                "--explain compares with enrolled pictures, and centers are none: choose another strategy."
            )
    with waiting("starting", quiet=json):
        from steradian.data.image_files import image_files, in_parts
        from steradian.gallery import Gallery
        from steradian.gallery.decision import as_answer
        from steradian.gallery.explaining import explain as explained_by
        from steradian.models.calibration import STRANGERS
        from steradian.models.evidence import LOOKS

    found, metadata = image_files(images), json_object("--where", where)
    videos = are_videos(images, frames)
    readable: list[Path] = []
    decisions: list[Decision] = []
    failures: list[tuple[str, str]] = []
    explained: list[Explanation | None] = []
    with Gallery.open(existing_gallery(run, gallery), _model_source(run, strategy)) as opened:
        finds = opened.recognizer.preprocessing.finds
        if finds and explain is not None:
            raise UsageError("--explain compares whole pictures, but this model finds regions: use --out.")
        if not finds and (out is not None or repeated or videos):
            raise UsageError(
                "--out, --repeated and videos are for models that find regions in a photo, such as faces, and this one "
                "takes every picture whole."
            )
        if explain is not None:
            opened.recognizer.accelerate_for(2 * LOOKS * min(len(found.files), MOST_EXPLAINED))
        chosen = None
        if far is None and threshold is None and strategy != "centers":
            with waiting("asking the gallery's own images", quiet=json):
                filtered = bool(label or metadata)
                chosen = opened.stranger_threshold(strangers or STRANGERS, strategy, filtered=filtered)
        if finds:
            opened.recognizer.accelerate_for(EXPECTED * (MANY if videos else len(found.files)))
            asked = {"top": top, "strategy": strategy, "labels": label, "where": metadata}
            rates = {"strangers": strangers, "far": far, "threshold": threshold}
            if videos:
                watched = identify_videos(opened, images, frames, every, repeated, {**asked, **rates})
                report_videos(watched, len(found.files) if frames else len(images), frames, out, json)
                if chosen is not None:
                    say(wrapped(_describe_threshold(chosen), "", sys.stderr))
                return
            photos = identify_photos(opened, found.files, repeated, {**asked, **rates}, quiet=json)
            report_photos(photos, found, out, json)
            if chosen is not None:
                say(wrapped(_describe_threshold(chosen), "", sys.stderr))
            return
        for batch in in_parts(found.files, opened.recognizer.preprocessing.shortest):
            readable += batch.files
            failures += [(str(file), reason) for file, reason in batch.failures]
            answered = opened.identify(
                batch.pixels,
                top=top,
                strangers=strangers,
                far=far,
                threshold=threshold,
                strategy=strategy,
                labels=label,
                where=metadata,
            )
            decisions += answered
            if explain is not None and len(explained) < MOST_EXPLAINED:
                with waiting("comparing the pictures part by part", quiet=json):
                    for pixels, one in list(zip(batch.pixels, answered, strict=True))[
                        : MOST_EXPLAINED - len(explained)
                    ]:
                        explained.append(explained_by(opened, pixels, one.matches[0]) if one.matches else None)
    drawn = explain is not None and _draw(explain, explained, readable, decisions)
    if json:
        answers = [as_answer(str(file), decision) for file, decision in zip(readable, decisions, strict=True)]
        failed = [{"image": name, "reason": reason} for name, reason in failures]
        parts = {"explained": str(explain)} if drawn else {}
        print_json({"answers": answers, "failures": failed, "notes": list(found.notes), **parts})
    else:
        for file, decision in zip(readable, decisions, strict=True):
            print(f"{file}\n  {describe_decision(decision)}")
            if decision.matches:
                print(columns([(f"  {match.label}", f"{match.similarity:.3f}") for match in decision.matches]))
    if explain is not None and not drawn:
        say(f"! {explain} is not drawn: nobody that was asked for is enrolled, or no image could be read.")
    elif explain is not None and not json:
        more = f", the first {MOST_EXPLAINED} of {len(decisions):,}" if len(decisions) > MOST_EXPLAINED else ""
        print(f"parts   {explain}{more}")
    if chosen is not None:
        say(wrapped(_describe_threshold(chosen), "", sys.stderr))
    bullets(found.notes, "!")
    fail_for(failures, len(found.files), "read")


def _draw(path: Path, explained: list[Explanation | None], files: list[Path], decisions: list[Decision]) -> bool:
    """Draw what was explained into ``path``; return whether there was anything."""
    from steradian.files import atomic_file
    from steradian.plots.evidence import EvidenceDisplay

    rows, captions = [], []
    for file, decision, found in zip(files, decisions, explained, strict=False):
        if found is None:
            continue
        rows.append([found.asked] if found.enrolled is None else [found.asked, found.enrolled])
        best = decision.matches[0].label
        name = decision.label or f"{decision.decision}; most similar is {best}"
        captions.append(f"{file.name}: {name} ({found.cosine:.2f})")
    if not rows:
        return False
    with atomic_file(path) as temporary:
        # Photographs keep all their colors, which other pictures of this project do not need.
        EvidenceDisplay.from_pictures(rows, captions).plot().figure_.figure.savefig(temporary, format="png")
    return True


def _model_source(run: str, strategy: str) -> str | Recognizer:
    """Return ``run``, or its loaded PyTorch model for the strategy "centers": an export has no class centers."""
    if strategy != "centers":
        return run
    from steradian.models.recognizer import Recognizer

    return Recognizer.load(run)


def _describe_threshold(chosen: StrangerThreshold) -> str:
    if chosen.cosine >= 1.0:
        return (
            f"! A rate of {100 * chosen.rate:.3g} % cannot be kept, so every answer is unknown: it rests on "
            f"{chosen.measured_on}."
        )
    measured = math.isfinite(chosen.low) and chosen.low < chosen.high < 1.0
    spread = f" (95 % interval {chosen.low:.3f} to {chosen.high:.3f})" if measured else ""
    level = f"similarity above {chosen.cosine:.3f}{spread}"
    if chosen.relative:
        level = f"similarity more than {chosen.cosine:.3f}{spread} above half of that to the next five names"
    return (
        f"At most {100 * chosen.rate:g} % of strangers get a name among {chosen.identities} enrolled: {level}, by "
        f"{chosen.measured_on}."
    )
