"""Videos: regions are followed from frame to frame, and every track gets one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from steradian import Recognizer
from steradian.data import video
from steradian.data.video import Frame, Video
from steradian.errors import DataError, UsageError
from steradian.finding import Region, finders
from steradian.finding.tracks import LONGEST_GAP, Tracker
from steradian.gallery import Gallery
from steradian.gallery.decision import Match, decide
from steradian.gallery.videos import identify_video, one_at_a_time

from .conftest import SIDE, digit

E1, E2 = np.eye(2, dtype=np.float32)


def region(left: float, top: float = 0.0, side: float = 20.0) -> Region:
    return Region((left, top, left + side, top + side))


class Bright:
    """Finds squares of `SIDE` pixels that begin where the picture is not black, row by row."""

    template = None

    def __call__(self, pixels: np.ndarray) -> list[Region]:
        found, left = [], 0
        light = pixels.reshape(*pixels.shape[:2], -1).max(axis=(0, 2)) > 60
        while left < len(light):
            if light[left]:
                found.append(Region((float(left), 0.0, float(left + SIDE), float(SIDE))))
                left += SIDE
            left += 1
        return found


@pytest.fixture
def model(finding_model: Recognizer) -> Recognizer:
    return finding_model


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(finders.BUILT_IN, "squares", Bright)
    finders.finder.cache_clear()
    yield
    finders.finder.cache_clear()


def frame(**where: int) -> np.ndarray:
    """A black picture of 28 x 160 pixels with digits: their index by the name, and the left edge."""
    pixels = np.zeros((SIDE, 160), np.uint8)
    for name, left in where.items():
        pixels[:, left : left + SIDE] = np.maximum(digit(int(name[1:])), 100)
    return pixels


def moving(count: int = 12) -> list[Frame]:
    """Digit 3 moves to the right; digit 4 comes in after the fourth frame."""
    frames = [frame(_3=2 + 2 * number, **({"_4": 100} if number >= 4 else {})) for number in range(count)]
    return [Frame(float(number), pixels) for number, pixels in enumerate(frames)]


def test_regions_go_on_where_they_overlap_and_are_alike() -> None:
    tracker = Tracker(0.5)
    both = np.stack([E1, E2])
    assert tracker.add(0, [region(0), region(100)], both) == [0, 1]
    assert tracker.add(1, [region(104), region(3)], both[::-1]) == [1, 0], "wherever they are in the list"
    assert tracker.add(2, [region(6)], both[1:]) == [2], "a cut to another picture"
    assert tracker.add(3, [region(60)], both[1:]) == [3], "too far away"
    assert tracker.add(3 + LONGEST_GAP, [region(104)], both[1:]) == [4], "not seen for too long"
    assert tracker.add(4 + LONGEST_GAP, [], both[:0]) == []
    assert tracker.begun == 5 and list(tracker.going) == [3, 4]
    assert tracker.add(5 + LONGEST_GAP, [region(105), region(108)], both[[1, 1]]) == [4, 5], "each goes on once"


def test_a_name_is_given_to_tracks_that_are_never_seen_together() -> None:
    ada, ben = Match("ada", 0.9, identity=1), Match("ben", 0.7, identity=2)
    sure, less = decide([ada, ben], 0.5), decide([Match("ada", 0.8, identity=1), ben], 0.5)
    spans = [(0.0, 4.0), (2.0, 6.0), (5.0, 9.0)]
    answers = one_at_a_time([sure, less, sure], spans, 0.02)
    assert [one.label for one in answers] == ["ada", "ben", "ada"]
    assert [one.label for one in one_at_a_time([less, sure], [(0, 1), (1, 2)], 0.02)] == ["ben", "ada"]


def test_every_track_of_a_video_has_one_answer(model: Recognizer, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g.db", model) as gallery:
        gallery.enroll_vectors("three", model.embed([frame(_3=0)[:, :SIDE]]), [""])
        found = identify_video(gallery, moving(), threshold=0.9)
        assert (found.frames, found.short, len(found.tracks)) == (12, 0, 2)
        three, four = found.tracks
        assert three.span == (0.0, 11.0) and three.frames == 12 and three.answer.decision.label == "three"
        assert four.span == (4.0, 11.0) and four.answer.decision.decision == "unknown"
        assert three.pixels is None
        both = identify_video(gallery, moving(), threshold=0.9, pictures=1).tracks
        assert both[0].pixels is not None and both[1].pixels is None, "only as many frames are kept as are drawn"
        told = three.as_answer()
        assert told["label"] == "three" and told["best"]["box"][1] == 0.0 and told["frames"] == 12
        single = [*moving(4), Frame(4.0, frame(_3=10, _4=100))]
        found = identify_video(gallery, single, threshold=0.9)
        assert found.short == 1 and len(found.tracks) == 1, "what is seen once is counted"
        twice = [Frame(float(number), frame(_3=0, **{"_03": 100})) for number in range(3)]
        labels = [one.answer.decision.label for one in identify_video(gallery, twice, threshold=0.9).tracks]
        assert sorted(labels, key=str) == [None, "three"]
        again = identify_video(gallery, twice, threshold=0.9, repeated=True).tracks
        assert [one.answer.decision.label for one in again] == ["three", "three"]
        assert identify_video(gallery, [Frame(0.0, frame())], threshold=0.9).tracks == []


def written(path: Path, frames: list[Frame], rate: float = 10.0) -> Path:
    """Write frames as a video without loss."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), rate, (160, SIDE))
    for one in frames:
        writer.write(np.repeat(one.pixels[:, :, None], 3, axis=2))
    writer.release()
    return path


def test_frames_of_a_file_come_with_their_times(tmp_path: Path) -> None:
    path = written(tmp_path / "clip.avi", moving(20))
    every = Video(path, 0.0)
    assert every.expected == 20 and len(list(every)) == 20
    some = Video(path, 0.5)
    frames = list(some)
    assert some.expected == 4 and [one.time for one in frames] == pytest.approx([0.0, 0.5, 1.0, 1.5])
    assert np.abs(frames[1].pixels[:, :, 0].astype(int) - moving(20)[5].pixels).max() <= 8
    assert some.note == "" and len(list(some)) == 4, "a second pass gives the same"
    content = path.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    cut = Video(tmp_path / "cut.avi", 0.0)
    assert 0 < len(list(cut)) < 15 and "of about 20 frames could be read" in cut.note
    (tmp_path / "no.mp4").write_bytes(b"no video at all")
    with pytest.raises(DataError, match="no.mp4 cannot be read as a video"):
        Video(tmp_path / "no.mp4")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(extra: str, purpose: str) -> None:
        raise UsageError(f"{purpose} needs {extra}")

    monkeypatch.setattr(video, "require", missing)
    with pytest.raises(UsageError, match="Reading videos needs video"):
        Video(tmp_path / "clip.mp4")


def test_the_command_answers_for_videos_and_folders_of_frames(
    model: Recognizer,
    command,
    tmp_path: Path,
) -> None:
    Image.fromarray(frame(_3=0)[:, :SIDE]).save(tmp_path / "three.png")
    assert command("enroll", "run", "three.png", "--name", "three")[0] == 0
    written(tmp_path / "clip.avi", moving())
    (tmp_path / "frames").mkdir()
    for number, one in enumerate(moving()):
        Image.fromarray(one.pixels).save(tmp_path / "frames" / f"{number:03}.png")
    asked = ("--threshold", "0.9")
    code, out, _ = command("identify", "run", "clip.avi", "--every", "0", *asked, "--out", "tracks.png")
    assert (
        code == 0
        and "0:00.0 to 0:01.1" in out
        and "three (similarity" in out
        and "frames that were looked at: 12" in out
    )
    with Image.open(tmp_path / "tracks.png") as picture:
        assert picture.width > 500
    code, out, _ = command("identify", "run", "frames", "--frames", *asked, "--json")
    (told,) = json.loads(out)["videos"]
    assert code == 0 and [one["label"] for one in told["tracks"]] == ["three", None] and told["frames"] == 12
    code, out, _ = command("identify", "run", "frames", "--frames", *asked)
    assert "frame 1 to frame 12" in out
    for words in (("clip.avi", "three.png"), ("clip.avi", "--frames")):
        code, _, err = command("identify", "run", *words, *asked)
        assert code == 2 and "Videos cannot be mixed with pictures" in err
    # What cannot be read is told at the end, beside the answers of the rest.
    (tmp_path / "no.mp4").write_bytes(b"no video")
    code, out, err = command("identify", "run", "clip.avi", "no.mp4", *asked)
    assert code == 1 and "three (similarity" in out and "cannot be read as a video" in err
    (tmp_path / "frames" / "004.png").write_bytes(b"damaged")
    code, out, err = command("identify", "run", "frames", "--frames", *asked)
    assert code == 1 and "frame 1 to frame 12" in out and "004.png" in err
