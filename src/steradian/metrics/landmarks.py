"""Landmark recognition and retrieval, as Google Landmarks v2 scores them (Weyand et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from steradian.errors import InputError


class Named(NamedTuple):
    """The one landmark that an image was said to show, and how sure that was."""

    landmark: Any
    confidence: float


def gap(
    predictions: Mapping[Any, Named | None],
    truth: Mapping[Any, Collection[Any]],
    *,
    ignore_without_landmark: bool = False,
) -> float:
    """Global average precision, or micro average precision: (1/M) sum_i P(i) rel(i) over all predictions together.

    Predictions are ordered by falling confidence, equal ones by image and then by landmark. P(i) is the precision of
    the first i, those on images without a landmark among them, and M is the number of images with one.

    Args:
        predictions: image -> at most one answer. An image that is missing, or None, was left unanswered.
        truth: image -> its landmarks, none for an image of something else.
        ignore_without_landmark: leave images without a landmark out of the ranking.

    Raises:
        InputError: NaN confidence, a prediction for an unknown image, or no image with a landmark.
    """
    with_landmark = sum(1 for image in truth if len(_right(truth, image)))
    if with_landmark == 0:
        raise InputError("no image has a landmark: GAP divides by their number.")
    ranked: list[tuple[float, Any, Any]] = []
    for image, named in predictions.items():
        if image not in truth:
            raise InputError(f"a prediction names image {image!r}, which is not among the {len(truth):,} of the truth.")
        if named is None or (ignore_without_landmark and not len(truth[image])):
            continue
        landmark, confidence = named
        if not isinstance(confidence, Real) or math.isnan(confidence):
            raise InputError(f"the confidence of image {image!r} is {confidence}; every score must be a number.")
        ranked.append((-confidence, image, landmark))
    try:
        ranked.sort()
    except TypeError as error:
        raise InputError(f"equal scores are ordered by image, so those must be of one kind: {error}.") from error
    hits, total = 0, 0.0
    for place, (_, image, landmark) in enumerate(ranked, start=1):
        if landmark in truth[image]:
            hits += 1
            total += hits / place
    return total / with_landmark


def _right(truth: Mapping[Any, Collection[Any]], key: Any) -> Collection[Any]:
    """What is right for ``key``; a word is not a collection of letters."""
    found = truth[key]
    if isinstance(found, str) or not isinstance(found, Collection):
        raise InputError(f"the truth of {key!r} must be a set, list or array, but is {found!r}. Put it into a set.")
    return found


def mean_average_precision(
    rankings: Mapping[Any, Sequence[Any]], truth: Mapping[Any, Collection[Any]], depth: int = 100
) -> float:
    """mAP@depth: the mean over queries of (1 / min(|GT|, depth)) sum_(k <= depth) P(k) rel(k).

    A repeated image counts once but keeps its place. A query without a ranking counts 0; one without a right image is
    left out, as it could only be divided by 0.

    Raises:
        InputError: a ranking of an unknown query, or no query with a right image.
    """
    if depth < 1:
        raise InputError(f"depth must be at least 1, but is {depth}.")
    for query in rankings:
        if query not in truth:
            raise InputError(f"a ranking names query {query!r}, which is not among the {len(truth):,} of the truth.")
    known = {query: set(right) for query in truth if len(right := _right(truth, query))}
    if not known:
        raise InputError("no query has a right image: there is nothing to measure.")
    total = 0.0
    for query, right in known.items():
        seen: set[Any] = set()
        hits, found = 0, 0.0
        for place, image in enumerate(rankings.get(query, ())[:depth], start=1):
            if image not in seen and image in right:
                hits += 1
                found += hits / place
            seen.add(image)
        total += found / min(len(right), depth)
    return total / len(known)
