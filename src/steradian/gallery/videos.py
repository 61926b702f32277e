"""Name everything that is followed through a video: one answer for each track."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.model_input import Pixels
from steradian.data.video import Frame
from steradian.finding.finders import NothingFoundError
from steradian.finding.regions import Quality, Region, region_answer
from steradian.finding.tracks import Tracker
from steradian.gallery.decision import AUTO, Decision, as_answer, decide, listed
from steradian.gallery.gallery import Gallery
from steradian.gallery.photos import RegionAnswer, judged, margin_of, matches_needed, rounded, taken_elsewhere
from steradian.gallery.search.exact import unit

BEST = 5
"""Clearest views of a track whose embeddings are averaged."""

FEWEST = 2
"""Frames of the shortest track that is answered."""

Span = tuple[float, float]
"""First and last time at which something was seen."""


@dataclass(frozen=True)
class TrackAnswer:
    """Who is in a track.

    Attributes:
        span: when it was seen, see `Frame`.
        frames: number of frames in which it was found.
        time, pixels: when its clearest view was, and the frame of it if it was kept.
        answer: the decision by the mean of its clearest views; the region is that of the clearest one.
    """

    span: Span
    frames: int
    time: float
    pixels: Pixels | None
    answer: RegionAnswer

    def as_answer(self) -> dict[str, Any]:
        """Return plain values; ``best`` is the clearest view."""
        one = self.answer
        values = as_answer("", one.decision)
        del values["image"]
        first, last = (round(time, 3) for time in self.span)
        best = {"time": round(self.time, 3), **region_answer(one.region, one.quality)}
        seen = {"first": first, "last": last, "frames": self.frames, "best": best}
        return {**seen, **values, "elsewhere": one.elsewhere, "trust": rounded(one.trust)}


@dataclass(frozen=True)
class VideoAnswers:
    """The tracks of a video in the order in which they begin, and what was looked at.

    Attributes:
        frames: number of frames that were looked at.
        short: number of tracks with fewer than `FEWEST` frames, which are not answered.
    """

    tracks: list[TrackAnswer]
    frames: int
    short: int


@dataclass(frozen=True)
class _View:
    clearness: float
    time: float
    pixels: Pixels | None
    region: Region
    quality: Quality
    vector: NDArray[np.float32]


class _Followed:
    """What is kept of a track: its times, the embeddings of its clearest views, and the clearest one whole."""

    def __init__(self, first: _View) -> None:
        self.best = first
        self.times: list[float] = []
        self.vectors: list[tuple[float, NDArray[np.float32]]] = []

    def add(self, view: _View) -> None:
        self.times.append(view.time)
        self.vectors = sorted([*self.vectors, (view.clearness, view.vector)], key=lambda one: -one[0])[:BEST]
        self.best = max(self.best, view, key=lambda one: one.clearness)


def identify_video(
    gallery: Gallery,
    frames: Iterable[Frame],
    *,
    repeated: bool = False,
    pictures: int = 0,
    top: int = 5,
    strategy: str = AUTO,
    labels: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    **rate: float | None,
) -> VideoAnswers:
    """Follow what the model's finder finds through the frames of a video, and identify every track.

    Args:
        frames: such as `data.video.Video`, one after the other.
        pictures: of so many tracks, those that begin first, the frame of the clearest view is kept.
        repeated: whether tracks that are seen at the same time may be one identity; otherwise see `one_at_a_time`.
        top, strategy, labels, where, rate: see `photos.identify_photo`.
    """
    model = gallery.recognizer
    tracker = Tracker(min((one.cosine for one in model.thresholds), default=-1.0))
    followed: list[_Followed] = []
    count = 0
    for frame in frames:
        count += 1
        try:
            found = model.preprocessing.cut_out(frame.pixels)
        except NothingFoundError:
            continue
        vectors = model.embed_squares(np.stack([square for _, _, square in found]))
        numbers = tracker.add(count, [region for region, _, _ in found], vectors)
        for (region, quality, _), vector, number in zip(found, vectors, numbers, strict=True):
            clearness = quality.score if model.gate is None else model.gate.visibility(quality)
            kept_frame = frame.pixels if number < pictures else None
            view = _View(clearness, frame.time, kept_frame, region, quality, vector)
            if number == len(followed):
                followed.append(_Followed(view))
            followed[number].add(view)
    fewest = min(FEWEST, count)
    kept = [one for one in followed if len(one.times) >= fewest]
    if not kept:
        return VideoAnswers([], count, len(followed))
    means = unit(np.stack([np.mean([vector for _, vector in one.vectors], axis=0) for one in kept]))
    alone = gallery.identify_vectors(
        means, top=matches_needed(top, len(kept)), strategy=strategy, labels=labels, where=where, **rate
    )
    spans = [(one.times[0], one.times[-1]) for one in kept]
    last = list(alone) if repeated else one_at_a_time(alone, spans, margin_of(strategy))
    tracks = []
    for one, span, before, decision in zip(kept, spans, alone, last, strict=True):
        best = one.best
        elsewhere = taken_elsewhere(before, decision)
        sure, trust = judged(decision, best.quality, model.gate, elsewhere, **rate)
        answer = RegionAnswer(best.region, best.quality, listed(sure, top), elsewhere, trust)
        tracks.append(TrackAnswer(span, len(one.times), best.time, best.pixels, answer))
    return VideoAnswers(tracks, count, len(followed) - len(kept))


def one_at_a_time(decisions: Sequence[Decision], spans: Sequence[Span], margin: float) -> list[Decision]:
    """Give an identity to tracks that are never seen together, and decide the others again without it.

    The track whose similarity exceeds its threshold most comes first.
    """
    answers = list(decisions)
    owners: dict[tuple[int | None, str], list[Span]] = {}
    for number in sorted(range(len(answers)), key=lambda one: decisions[one].threshold - decisions[one].similarity):
        decision, (first, last) = decisions[number], spans[number]
        free = [
            match
            for match in decision.matches
            if not any(first <= end and begin <= last for begin, end in owners.get((match.identity, match.label), ()))
        ]
        if len(free) < len(decision.matches):
            answers[number] = decide(free, decision.threshold, margin)
        if answers[number].label is not None:
            best = answers[number].matches[0]
            owners.setdefault((best.identity, best.label), []).append((first, last))
    return answers
