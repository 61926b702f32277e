"""Read frames of videos, some of them, with their times."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from steradian.data.decode import MAX_PIXELS, decode
from steradian.data.model_input import Pixels
from steradian.errors import DataError
from steradian.extras import require
from steradian.files import printable

SUFFIXES = frozenset({".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"})
"""Files with these suffixes are treated as videos."""

LEAST_READ = 0.9
"""Share of the frames that a file claims below which its rest is told to be damaged; claims are rough."""

EVERY = 0.2
"""Seconds from one frame that is looked at to the next."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        time: seconds from the beginning; of a folder of frames, its number from 0.
        pixels: uint8 [H, W, 3], or [H, W].
    """

    time: float
    pixels: Pixels


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its suffix."""
    return path.suffix.lower() in SUFFIXES


class Video:
    """The frames of a video file, one in every ``every`` seconds, upright.

    Args:
        every: seconds; 0: every frame.

    Raises:
        UsageError: the extra ``video`` is not installed.
        DataError: the file cannot be read as a video, or its frames are too large.
    """

    def __init__(self, path: Path, every: float = EVERY) -> None:
        require("video", "Reading videos")
        import cv2

        self.path, self.every = path, every
        # It would write a line for every damaged block.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        capture = cv2.VideoCapture(str(path))
        try:
            rate, count, width, height = (float(capture.get(one)) for one in (
                cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
            ))  # fmt: skip
            opened = capture.isOpened()
        finally:
            capture.release()
        if not opened or width * height <= 0:
            raise DataError(f"{printable(path)} cannot be read as a video: it is damaged, or of an unknown kind.")
        if width * height > MAX_PIXELS:
            raise DataError(f"{printable(path)} has frames of {width:.0f} x {height:.0f} pixels, over {MAX_PIXELS:,}.")
        self.rate = rate if math.isfinite(rate) and rate > 0.0 else 25.0
        # What the file says; it may hold more frames or fewer.
        self.claimed = int(count) if math.isfinite(count) and count > 0.0 else 0
        self.read = 0

    @property
    def expected(self) -> int:
        """About how many frames are yielded."""
        every = max(self.every * self.rate, 1.0)
        return max(1, math.ceil(self.claimed / every))

    @property
    def note(self) -> str:
        """A sentence about a damaged rest, once the frames were read; empty if there is none."""
        if self.read >= LEAST_READ * self.claimed:
            return ""
        return f"{printable(self.path)}: {self.read:,} of about {self.claimed:,} frames could be read."

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. A damaged rest of the file ends them, see `note`."""
        import cv2

        capture = cv2.VideoCapture(str(self.path))
        self.read, following = 0, 0.0
        try:
            while capture.grab():
                told = float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
                time = told if told > 0.0 else self.read / self.rate
                self.read += 1
                if time + 1e-6 < following:
                    continue
                read, pixels = capture.retrieve()
                if not read:
                    break
                following = time + self.every
                yield Frame(time, np.ascontiguousarray(pixels[:, :, ::-1]))
        finally:
            capture.release()
        if self.read == 0:
            raise DataError(f"{printable(self.path)} holds no frame that can be read.")


@dataclass
class FrameFiles:
    """Pictures as the frames of a video, in the order of ``files``.

    Attributes:
        shortest: see `decode`.
        failures: the pictures that could not be decoded, with the reason, once the frames were read.
    """

    files: Sequence[Path]
    shortest: int
    failures: list[tuple[Path, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that can be decoded; each keeps its number."""
        self.failures.clear()
        for number, file in enumerate(self.files):
            try:
                pixels = decode(file, self.shortest)
            except DataError as error:
                self.failures.append((file, str(error)))
                continue
            yield Frame(float(number), pixels)
