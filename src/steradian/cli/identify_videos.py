"""Answer for every thing that is followed through a video, for models that find regions, such as faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steradian.cli.find import MOST_DRAWN, draw
from steradian.cli.identify_photos import in_words
from steradian.cli.output import columns, print_json, say
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
            "Videos cannot be mixed with pictures, and are no --frames: give them in commands of their own."
        )
    return frames or bool(videos)


def identify_videos(
    opened: Gallery, images: Sequence[Path], frames: bool, every: float, repeated: bool, asked: Mapping[str, Any]
) -> list[tuple[str, VideoAnswers]]:
    """Identify the tracks of videos, one after the other; ``asked``: what `videos.identify_video` takes besides."""
    from steradian.data.image_files import image_files
    from steradian.data.video import Video, frames_of
    from steradian.gallery.videos import identify_video

    if frames:
        files = image_files(images).files
        called = f"{len(files)} frames" if len(images) > 1 else str(images[0])
        shown = _counted(frames_of(files, opened.recognizer.preprocessing.shortest), len(files), called)
        return [(called, identify_video(opened, shown, repeated=repeated, **asked))]
    answers = []
    for path in images:
        video = Video(path, every)
        shown = _counted(video, video.expected, path.name)
        answers.append((str(path), identify_video(opened, shown, repeated=repeated, **asked)))
    return answers


def _counted(frames: Iterable[Frame], expected: int, name: str) -> Iterator[Frame]:
    from steradian.training.progress import Progress

    with Progress(expected, f"watching {name}") as progress:
        for frame in frames:
            yield frame
            progress.advance()


def report_videos(answers: Sequence[tuple[str, VideoAnswers]], frames: bool, out: Path | None, json: bool) -> None:
    """Print the answers, and draw the clearest view of each track into ``out``."""
    from steradian.gallery.photos import marked

    tracks = [(name, number, one) for name, found in answers for number, one in enumerate(found.tracks, start=1)]
    drawn = tracks[:MOST_DRAWN] if out is not None else []
    if out is not None and drawn:
        captions = [f"{Path(name).name}: {number}, {_when(one.time, frames)}" for name, number, one in drawn]
        draw(
            out,
            [marked(one.pixels, [one.answer], caption) for (_, _, one), caption in zip(drawn, captions, strict=True)],
        )
    if json:
        videos = [
            {
                "video": name,
                "frames": found.frames,
                "short": found.short,
                "tracks": [one.as_answer() for one in found.tracks],
            }
            for name, found in answers
        ]
        print_json({"videos": videos, **({"picture": str(out)} if drawn else {})})
        return
    for name, found in answers:
        print(name)
        rows = [_row(number, one, frames) for number, one in enumerate(found.tracks, start=1)]
        print(columns(rows, longest=100) if rows else "  nothing found")
        short = f"; {found.short} that were seen in a single frame are left out" if found.short else ""
        print(f"  {found.frames} frames were looked at{short}")
    if out is not None and drawn:
        more = f", the first {MOST_DRAWN} of {len(tracks):,}" if len(tracks) > MOST_DRAWN else ""
        print(f"picture {out}{more}")
    elif out is not None:
        say(f"! {out} is not drawn: nothing was found.")


def _row(number: int, one: TrackAnswer, frames: bool) -> tuple[str, ...]:
    first, last = (_when(time, frames) for time in one.span)
    return f"  {number}", f"{first} to {last}", in_words(one.answer), f"{one.frames} frames"


def _when(time: float, frames: bool) -> str:
    """Return minutes and seconds, or the number of a frame from 1."""
    if frames:
        return f"frame {time + 1:.0f}"
    minutes, seconds = divmod(time, 60.0)
    return f"{minutes:.0f}:{seconds:04.1f}"
