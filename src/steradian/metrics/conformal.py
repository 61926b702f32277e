"""Prediction sets: the shortest ranked list of classes that holds the truth as often as promised, and a true unknown.

Split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2023): on n held-out images the nonconformity of
the truth is sorted, and its ceil((n + 1) coverage)-th smallest value is the bound. New images of the same kind have
their truth in the set with at least that chance, whatever the model is. Calibration images must not have been trained
on, nor used to stop training or to choose anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steradian.errors import InputError
from steradian.metrics.calibration import as_probabilities
from steradian.metrics.checks import Floats, Ints, as_classes, as_labels, as_scores, as_share
from steradian.metrics.intervals import Interval, wilson_interval


@dataclass(frozen=True)
class ConformalSets:
    """Sets of classes as they come for new probabilities.

    Attributes:
        coverage: the promise.
        bounds: [C] largest nonconformity that stays in the set, of each class; infinite where the images are too few to
            promise anything, so that such a class is in every set.
        images: how many calibration images each bound comes from, [C].
    """

    coverage: float
    bounds: Floats
    images: Ints

    def members(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """bool [N, C], which classes are in the set of each image; with one bound the first so many of the ranking."""
        given = np.asarray(probabilities)
        found = as_probabilities(given, np.arange(len(given)))
        if found.shape[1] != len(self.bounds):
            raise InputError(f"probabilities of {found.shape[1]} classes came for bounds of {len(self.bounds)}.")
        inside: NDArray[np.bool_] = _nonconformity(found) <= self.bounds
        return inside


def _nonconformity(probabilities: Floats) -> Floats:
    """1 - p of each class, [N, C] (the score of the least sets on average, Sadinle et al. 2019)."""
    rest: Floats = 1.0 - probabilities
    return rest


def conformal_sets(
    probabilities: ArrayLike, labels: ArrayLike, coverage: float = 0.95, *, per_class: bool = False
) -> ConformalSets:
    """Fit prediction sets on held-out images.

    Args:
        probabilities: [N, C], rows summing to 1.
        labels: int [N].
        coverage: the share of new images whose set shall hold the truth.
        per_class: keep the promise within each class, with a bound of its own from its own images; classes with few
            images then are in many sets.
    """
    found = as_probabilities(probabilities, as_labels(labels))
    names = as_classes(labels, found.shape[1])
    of_truth = _nonconformity(found)[np.arange(len(names)), names]
    classes = found.shape[1]
    if not per_class:
        bounds, images = np.full(classes, conformal_bound(of_truth, coverage)), np.full(classes, len(names))
    else:
        parts = [of_truth[names == number] for number in range(classes)]
        bounds = np.array([conformal_bound(part, coverage) for part in parts])
        images = np.array([len(part) for part in parts])
    return ConformalSets(as_share(coverage, "coverage"), bounds, images)


def conformal_bound(nonconformity: ArrayLike, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of n held-out values [n]; infinite where there are too few."""
    values = as_scores(nonconformity, "nonconformity")
    place = math.ceil((len(values) + 1) * as_share(coverage, "coverage") * (1 - 1e-12))
    return math.inf if place > len(values) else float(np.partition(values, place - 1)[place - 1])


@dataclass(frozen=True)
class Coverage:
    """What was kept of the promise: share of sets that hold the truth with its interval, and mean size of the sets."""

    covered: Interval
    size: float
    empty: float


def measured_coverage(sets: ConformalSets, probabilities: ArrayLike, labels: ArrayLike) -> Coverage:
    """Coverage of ``sets`` on images [N] that they were not fitted on."""
    names = as_classes(labels, len(sets.bounds))
    inside = sets.members(as_probabilities(probabilities, names))
    covered = int(inside[np.arange(len(names)), names].sum())
    sizes = inside.sum(axis=1)
    return Coverage(wilson_interval(covered, len(names)), float(sizes.mean()), float(np.mean(sizes == 0)))


def unknown_p_values(known_scores: ArrayLike, scores: ArrayLike) -> Floats:
    """How unusual new images are among known ones, [M]: (1 + #(held-out known images as low or lower)) / (n + 1).

    Calling "unknown" what is at most a turns away at most a share a of known images, whatever the model is (Bates et
    al. 2023).

    Args:
        known_scores: [n] confidence in held-out images of known classes, larger is surer.
        scores: [M] confidence in new images.
    """
    held_out, new = np.sort(as_scores(known_scores, "known_scores")), as_scores(scores)
    values: Floats = (1.0 + np.searchsorted(held_out, new, side="right")) / (len(held_out) + 1.0)
    return values
