"""Read frames of videos, some of them, with their times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steradian.data.decode import MAX_PIXELS, decode
from steradian.data.model_input import Pixels
from steradian.errors import DataError
from steradian.extras import require
from steradian.files import printable

SUFFIXES = frozenset({".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"})
"""Files with these suffixes are treated as videos."""

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
        self._capture = cv2.VideoCapture(str(path))
        rate, count = (float(self._capture.get(one)) for one in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        width, height = (self._capture.get(one) for one in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._capture.isOpened() or width * height <= 0:
            raise DataError(
                f"{printable(path)} cannot be read as a video: it is damaged, or of a kind that is not known."
            )
        if width * height > MAX_PIXELS:
            raise DataError(f"{printable(path)} has frames of {width:.0f} x {height:.0f} pixels, over {MAX_PIXELS:,}.")
        self.rate = rate if math.isfinite(rate) and rate > 0.0 else 25.0
        seconds = max(0.0, count / self.rate) if math.isfinite(count) else 0.0
        # What the file says; it may hold more frames or fewer.
        self.expected = max(1, math.ceil(seconds / every) if every > 0.0 else int(count))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. A damaged rest of the file ends them."""
        import cv2

        number, following = 0, 0.0
        while self._capture.grab():
            told = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
            time = told if told > 0.0 else number / self.rate
            number += 1
            if time + 1e-6 < following:
                continue
            read, pixels = self._capture.retrieve()
            if not read:
                break
            following = time + self.every
            yield Frame(time, np.ascontiguousarray(pixels[:, :, ::-1]))
        self._capture.release()
        if number == 0:
            raise DataError(f"{printable(self.path)} holds no frame that can be read.")


def frames_of(files: Sequence[Path], shortest: int) -> Iterator[Frame]:
    """Yield pictures as the frames of a video, in the order of ``files``. Raises `DataError` naming a damaged one."""
    for number, file in enumerate(files):
        try:
            yield Frame(float(number), decode(file, shortest))
        except DataError as error:
            raise DataError(f"{printable(file)}: {error}.") from error
