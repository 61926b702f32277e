"""Answer for every thing that is followed through a video, for models that find regions, such as faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steradian.cli.find import MOST_DRAWN, draw
from steradian.cli.identify_photos import in_words
from steradian.cli.output import bullets, columns, fail_for, print_json, say
from steradian.errors import UsageError

if TYPE_CHECKING:
    from steradian.data.video import Frame
    from steradian.gallery import Gallery
    from steradian.gallery.videos import TrackAnswer, VideoAnswers


def are_videos(images: Sequence[Path], frames: bool) -> bool:
    """Return whether the paths are videos, or with ``frames`` the frames of one.

    Raises:
        UsageError: videos and other things, or videos that are called frames.
    """
    from steradian.data.video import is_video

    videos = [path for path in images if is_video(path) and not path.is_dir()]
    if videos and (frames or len(videos) < len(images)):
        raise UsageError(
            "Videos cannot be mixed with pictures, and --frames is for pictures alone: use a command for each."
        )
    return frames or bool(videos)


@dataclass
class Videos:
    """Answers by video, sentences about what was passed over, and what could not be read."""

    answers: list[tuple[str, VideoAnswers]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def identify_videos(
    opened: Gallery, images: Sequence[Path], frames: bool, every: float, repeated: bool, asked: Mapping[str, Any]
) -> Videos:
    """Identify the tracks of videos, one after the other; ``asked``: what `videos.identify_video` takes besides.

    What cannot be read does not stop the others.
    """
    from steradian.data.image_files import image_files
    from steradian.data.video import FrameFiles, Video
    from steradian.errors import DataError
    from steradian.gallery.videos import identify_video

    videos = Videos()
    options = {"repeated": repeated, "pictures": MOST_DRAWN, **asked}
    if frames:
        found = image_files(images)
        called = f"{len(found.files)} frames" if len(images) > 1 else str(images[0])
        pictures = FrameFiles(found.files, opened.recognizer.preprocessing.shortest)
        answers = identify_video(opened, _counted(pictures, len(found.files), called), **options)
        videos.answers.append((called, answers))
        videos.notes += found.notes
        videos.failures += [(str(file), reason) for file, reason in pictures.failures]
        return videos
    for path in images:
        try:
            video = Video(path, every)
            videos.answers.append(
                (str(path), identify_video(opened, _counted(video, video.expected, path.name), **options))
            )
        except DataError as error:
            videos.failures.append((str(path), str(error).removeprefix(f"{path} ").removesuffix(".")))
        else:
            videos.notes += [video.note] if video.note else []
    return videos


def _counted(frames: Iterable[Frame], expected: int, name: str) -> Iterator[Frame]:
    from steradian.training.progress import Progress

    with Progress(expected, f"watching {name}") as progress:
        for frame in frames:
            yield frame
            progress.advance()


def report_videos(videos: Videos, asked: int, frames: bool, out: Path | None, json: bool) -> None:
    """Print the answers, and draw the clearest view of each track into ``out``.

    Raises:
        DataError: one of the ``asked`` videos or frames could not be read.
    """
    tracks = [(name, number, one) for name, found in videos.answers for number, one in enumerate(found.tracks, start=1)]
    drawn = _draw(out, tracks, frames) if out is not None else 0
    if json:
        told = [
            {
                "video": name,
                "frames": found.frames,
                "short": found.short,
                "tracks": [one.as_answer() for one in found.tracks],
            }
            for name, found in videos.answers
        ]
        failed = [{"video": name, "reason": reason} for name, reason in videos.failures]
        picture = {"picture": str(out)} if drawn else {}
        print_json({"videos": told, "failures": failed, "notes": videos.notes, **picture})
    else:
        for name, found in videos.answers:
            print(name)
            rows = [_row(number, one, frames) for number, one in enumerate(found.tracks, start=1)]
            print(columns(rows, longest=100) if rows else "  nothing found")
            short = f"; tracks that were seen in a single frame are left out: {found.short}" if found.short else ""
            print(f"  frames that were looked at: {found.frames}{short}")
        if drawn:
            more = f", the first {drawn} of {len(tracks):,}" if drawn < len(tracks) else ""
            print(f"picture {out}{more}")
    if out is not None and not drawn:
        say(f"! {out} is not drawn: nothing was found.")
    bullets(videos.notes, "!")
    fail_for(videos.failures, asked, "read")


def _draw(out: Path, tracks: Sequence[tuple[str, int, TrackAnswer]], frames: bool) -> int:
    """Draw the first tracks of which a frame was kept; return how many."""
    from steradian.gallery.photos import marked

    pictures = [
        marked(one.pixels, [one.answer], f"{Path(name).name}, {_when(one.time, frames)}", number)
        for name, number, one in tracks
        if one.pixels is not None
    ][:MOST_DRAWN]
    if pictures:
        draw(out, pictures)
    return len(pictures)


def _row(number: int, one: TrackAnswer, frames: bool) -> tuple[str, ...]:
    first, last = (_when(time, frames) for time in one.span)
    return f"  {number}", f"{first} to {last}", in_words(one.answer), f"{one.frames} frames"


def _when(time: float, frames: bool) -> str:
    """Return minutes and seconds, or the number of a frame from 1."""
    if frames:
        return f"frame {time + 1:.0f}"
    minutes, seconds = divmod(round(time, 1), 60.0)
    return f"{minutes:.0f}:{seconds:04.1f}"
