"""Score landmark recognition and retrieval as Google Landmarks v2 does (Weyand et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from steradian.errors import InputError


class Named(NamedTuple):
    """The one landmark predicted for an image, and its confidence."""

    landmark: Any
    confidence: float


def gap(
    predictions: Mapping[Any, Named | None],
    labels: Mapping[Any, Collection[Any]],
    *,
    ignore_without_landmark: bool = False,
) -> float:
    """Compute global (micro) average precision: (1/M) sum_i P(i) rel(i) over all predictions together.

    Predictions are ordered by falling confidence, ties by image and then by landmark. P(i) is the precision of the
    first i predictions, including those for images without a landmark; M is the number of images with a landmark.

    Args:
        predictions: image -> at most one prediction; a missing image, or None, means no prediction.
        labels: image -> its landmarks, empty for an image without one.
        ignore_without_landmark: leave images without a landmark out of the ranking.

    Raises:
        InputError: a confidence is NaN, a prediction is for an unknown image, or no image has a landmark.
    """
    with_landmark = sum(1 for image in labels if len(_correct_answers(labels, image)))
    if with_landmark == 0:
        raise InputError("no image has a landmark, but GAP needs at least one: add landmarks to the labels.")
    ranked: list[tuple[float, Any, Any]] = []
    for image, named in predictions.items():
        if image not in labels:
            raise InputError(f"a prediction is for image {image!r}, which is not among the {len(labels):,} in labels.")
        if named is None or (ignore_without_landmark and not len(labels[image])):
            continue
        landmark, confidence = named
        if not isinstance(confidence, Real) or math.isnan(confidence):
            raise InputError(f"the confidence of image {image!r} is {confidence}; every confidence must be a number.")
        ranked.append((-confidence, image, landmark))
    try:
        ranked.sort()
    except TypeError as error:
        raise InputError(f"ties are ordered by image, so image names must be of one type: {error}.") from error
    hits, total = 0, 0.0
    for rank, (_, image, landmark) in enumerate(ranked, start=1):
        if landmark in labels[image]:
            hits += 1
            total += hits / rank
    return total / with_landmark


def _correct_answers(labels: Mapping[Any, Collection[Any]], key: Any) -> Collection[Any]:
    """Return the correct answers for ``key``; a string is rejected rather than read as a collection of letters."""
    answers = labels[key]
    if isinstance(answers, str) or not isinstance(answers, Collection):
        raise InputError(f"labels of {key!r} must be a set, list or array, but is {answers!r}: put it into a set.")
    return answers


def mean_average_precision(
    rankings: Mapping[Any, Sequence[Any]], labels: Mapping[Any, Collection[Any]], depth: int = 100
) -> float:
    """Compute mAP@depth: the mean over queries of (1 / min(|GT|, depth)) sum_(k <= depth) P(k) rel(k).

    A repeated image counts once, but its repeats keep their ranks. A query without a ranking counts as 0; a query
    without a relevant image is left out, as its score is undefined.

    Raises:
        InputError: a ranking is for an unknown query, or no query has a relevant image.
    """
    if depth < 1:
        raise InputError(f"depth must be at least 1, but is {depth}.")
    for query in rankings:
        if query not in labels:
            raise InputError(f"a ranking is for query {query!r}, which is not among the {len(labels):,} in labels.")
    answerable = {query: set(relevant) for query in labels if len(relevant := _correct_answers(labels, query))}
    if not answerable:
        raise InputError("no query has a relevant image, but mAP needs at least one: add some to the labels.")
    total = 0.0
    for query, relevant in answerable.items():
        seen: set[Any] = set()
        hits, precisions = 0, 0.0
        for rank, image in enumerate(rankings.get(query, ())[:depth], start=1):
            if image not in seen and image in relevant:
                hits += 1
                precisions += hits / rank
            seen.add(image)
        total += precisions / min(len(relevant), depth)
    return total / len(answerable)
