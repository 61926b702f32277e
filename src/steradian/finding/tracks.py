"""Follow regions from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.finding.alone import overlap
from steradian.finding.regions import Region

LEAST_OVERLAP = 0.2
"""Intersection over union of the boxes of one thing in two frames that follow each other."""

LONGEST_GAP = 5
"""Frames for which a thing may not be found, and still goes on."""


@dataclass(frozen=True)
class Track:
    """One thing in the frames of a video.

    Attributes:
        box, vector: where and what it was when it was seen last; the vector is a unit embedding [D].
        last: number of that frame.
    """

    box: tuple[float, float, float, float]
    vector: NDArray[np.float32]
    last: int


class Tracker:
    """Links the regions of each frame to those of the frames before.

    A region goes on with the track that overlaps its box most, all regions of a frame taken together (the assignment
    problem, Kuhn 1955), if the boxes overlap and the embeddings are alike, so that a cut to another picture ends it.

    Attributes:
        least_cosine: of the embeddings of one thing in two frames.
        begun: number of tracks so far.
        going: those that may go on, by number.
    """

    def __init__(self, least_cosine: float) -> None:
        self.least_cosine = least_cosine
        self.begun = 0
        self.going: dict[int, Track] = {}

    def add(self, frame: int, regions: Sequence[Region], vectors: NDArray[np.float32]) -> list[int]:
        """Return the number of the track of each region of the next frame; ``vectors``: unit embeddings [N, D]."""
        from scipy.optimize import linear_sum_assignment

        self.going = {number: track for number, track in self.going.items() if frame - track.last <= 1 + LONGEST_GAP}
        going = list(self.going)
        shared = np.zeros((len(regions), len(going)))
        for row, (region, vector) in enumerate(zip(regions, vectors, strict=True)):
            for column, number in enumerate(going):
                track = self.going[number]
                if float(track.vector @ vector) >= self.least_cosine:
                    shared[row, column] = overlap(region.box, track.box)
        shared[shared < LEAST_OVERLAP] = 0.0
        pairs = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
        found = {int(row): going[column] for row, column in pairs if shared[row, column] > 0.0}
        numbers = []
        for row, (region, vector) in enumerate(zip(regions, vectors, strict=True)):
            number = found.get(row, self.begun)
            self.begun += number == self.begun
            self.going[number] = Track(region.box, vector, frame)
            numbers.append(number)
        return numbers
