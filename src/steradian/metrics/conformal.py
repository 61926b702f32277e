"""Compute conformal prediction sets, which contain the true class with a promised coverage, and p-values of unknowns.

Split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2023) sorts the nonconformity of the true class
on n held-out images; its ceil((n + 1) coverage)-th smallest value is the bound. For new images of the same
distribution the set contains the true class with at least that probability, whatever the model. The nonconformity of a
class is 1 - p, the score with the smallest average sets (Sadinle et al. 2019). Calibration images
must not be used for training, early stopping or any other choice.
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
    """Fitted bounds that turn probabilities of new images into sets of classes.

    Attributes:
        coverage: the promised share of sets that contain the true class.
        bounds: [C], the largest nonconformity in the set for each class; infinite if there are too few images for the
            promise, so that such a class is in every set.
        images: [C], number of calibration images of each bound.
    """

    coverage: float
    bounds: Floats
    images: Ints

    def members(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Return bool [N, C], which classes are in the set of each image; with a single bound they top the ranking."""
        values = np.asarray(probabilities)
        rows = as_probabilities(values, np.arange(len(values)))
        if rows.shape[1] != len(self.bounds):
            raise InputError(f"probabilities of {rows.shape[1]} classes came for bounds of {len(self.bounds)}.")
        return 1.0 - rows <= self.bounds


def conformal_sets(
    probabilities: ArrayLike, labels: ArrayLike, coverage: float = 0.95, *, per_class: bool = False
) -> ConformalSets:
    """Fit prediction sets on held-out images.

    Args:
        probabilities: [N, C], rows summing to 1.
        labels: int [N].
        coverage: the share of new images whose set must contain the true class.
        per_class: guarantee the coverage within each class, with one bound per class from its own images; classes
            with few images are then in many sets.
    """
    rows = as_probabilities(probabilities, as_labels(labels))
    names = as_classes(labels, rows.shape[1])
    true_scores = 1.0 - rows[np.arange(len(names)), names]
    classes = rows.shape[1]
    if not per_class:
        bounds, images = np.full(classes, conformal_bound(true_scores, coverage)), np.full(classes, len(names))
    else:
        parts = [true_scores[names == number] for number in range(classes)]
        bounds = np.array([conformal_bound(part, coverage) for part in parts])
        images = np.array([len(part) for part in parts])
    return ConformalSets(as_share(coverage, "coverage"), bounds, images)


def conformal_bound(nonconformity: ArrayLike, coverage: float) -> float:
    """Return the ceil((n + 1) coverage)-th smallest of n held-out values [n]; infinite if there are too few."""
    values = as_scores(nonconformity, "nonconformity")
    rank = math.ceil((len(values) + 1) * as_share(coverage, "coverage") * (1 - 1e-12))
    return math.inf if rank > len(values) else float(np.partition(values, rank - 1)[rank - 1])


@dataclass(frozen=True)
class Coverage:
    """Metrics coverage with its interval, the mean size of the sets, and the share of empty sets."""

    covered: Interval
    size: float
    empty: float


def measured_coverage(sets: ConformalSets, probabilities: ArrayLike, labels: ArrayLike) -> Coverage:
    """Measure the coverage of ``sets`` on images [N] that they were not fitted on."""
    names = as_classes(labels, len(sets.bounds))
    inside = sets.members(as_probabilities(probabilities, names))
    covered = int(inside[np.arange(len(names)), names].sum())
    sizes = inside.sum(axis=1)
    return Coverage(wilson_interval(covered, len(names)), float(sizes.mean()), float(np.mean(sizes == 0)))


def unknown_p_values(known_scores: ArrayLike, scores: ArrayLike) -> Floats:
    """Compute conformal p-values [M] of new images: (1 + #(held-out known images scoring as low or lower)) / (n + 1).

    Calling images with a p-value of at most a "unknown" rejects at most a share a of known images, whatever the model
    (Bates et al. 2023).

    Args:
        known_scores: [n], confidence for held-out images of known classes; larger is more confident.
        scores: [M], confidence for new images.
    """
    held_out, new = np.sort(as_scores(known_scores, "known_scores")), as_scores(scores)
    return (1.0 + np.searchsorted(held_out, new, side="right")) / (len(held_out) + 1.0)
