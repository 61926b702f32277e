"""Measure the geometry of classes in the embedding: angles on the sphere, and the volumes of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import chi2

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels, as_rows, sums_by_group, unit

MOST_CLASSES = 2000
"""Of more classes, the angles between all pairs are those of a sample."""

BLOCK = 2**24
"""Cosines that are in memory at a time."""


def _angles(cosine: Floats) -> Floats:
    return np.arccos(np.clip(cosine, -1.0, 1.0))


def class_means(embeddings: ArrayLike, labels: ArrayLike) -> tuple[Ints, Floats]:
    """Return the sorted labels [K] that occur, and the unit mean direction [K, D] of each."""
    labels = as_labels(labels)
    vectors = unit(as_rows(embeddings, labels, "embeddings")).astype(np.float64)
    known, codes = np.unique(labels, return_inverse=True)
    return known, unit(sums_by_group(vectors, codes, len(known)))


@dataclass(frozen=True)
class ClassAngles:
    """Angles in radians between each embedding and the mean directions of the classes.

    Attributes:
        own: [N], to the mean of its own class.
        nearest_other: [N], to the nearest mean of another class.
        between: [P], between the means of all K (K - 1) / 2 pairs of classes; of more than `MOST_CLASSES` classes, of
            all pairs of so many of them, drawn with a fixed seed.
        nearest_class: [K], from the mean of each class to the nearest mean of another; exact for any K.
    """

    own: Floats
    nearest_other: Floats
    between: Floats
    nearest_class: Floats


def class_angles(embeddings: ArrayLike, labels: ArrayLike) -> ClassAngles:
    """Compute intra- and inter-class angles from embeddings [N, D] and int labels [N] of at least two classes.

    Memory grows with N and with K, not with their product.
    """
    labels = as_labels(labels)
    known, means = class_means(embeddings, labels)
    if len(known) < 2:
        raise InputError(f"angles between classes need at least two classes, but {len(known)} came.")
    vectors = unit(np.asarray(embeddings, dtype=np.float64))
    own, other = _own_and_nearest_other(vectors, means, np.searchsorted(known, labels))
    _, nearest = _own_and_nearest_other(means, means, np.arange(len(means)))
    if len(means) > MOST_CLASSES:
        means = means[np.random.default_rng(0).choice(len(means), MOST_CLASSES, replace=False)]
    pairs = (means @ means.T)[np.triu_indices(len(means), k=1)]
    return ClassAngles(_angles(own), _angles(other), _angles(pairs), _angles(nearest))


def _own_and_nearest_other(vectors: Floats, means: Floats, codes: Ints) -> tuple[Floats, Floats]:
    """Return the cosine [N] of each vector to the mean of its own class, and to the nearest of the others."""
    own, other = np.empty(len(vectors)), np.empty(len(vectors))
    step = max(1, BLOCK // len(means))
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        cosine = vectors[part] @ means.T
        rows = np.arange(len(cosine))
        own[part] = cosine[rows, codes[part]]
        cosine[rows, codes[part]] = -np.inf
        other[part] = cosine.max(axis=1)
    return own, other


def _hull_volume(points: Floats) -> float:
    """Return the volume of the convex hull of ``points`` [N, D]; 0 if they span no volume."""
    if len(points) <= points.shape[1]:
        return 0.0
    try:
        return float(ConvexHull(points).volume)
    except QhullError:
        return 0.0


def _ellipsoid_volume(points: Floats, share: float = 0.95) -> float:
    """Return the volume of the ellipsoid that contains ``share`` of a normal distribution with the points' covariance.

    Its semi-axes are sqrt(chi2_D(share) * eigenvalue): chi2 is 5.991 in 2-D, 7.815 in 3-D.
    """
    dimensions = points.shape[1]
    if len(points) <= dimensions:
        return 0.0
    variances = np.linalg.eigvalsh(np.cov(points, rowvar=False).reshape(dimensions, dimensions)).clip(min=0.0)
    axes = np.sqrt(chi2.ppf(share, dimensions) * variances)
    ball = math.pi ** (dimensions / 2) / math.gamma(dimensions / 2 + 1)
    return float(ball * axes.prod())


@dataclass(frozen=True)
class VolumeRatios:
    """Summed volumes of the classes divided by the volume of the convex hull of all points.

    Attributes:
        hull: ratio with the convex hulls of the classes.
        ellipsoid: ratio with the 95 % ellipsoids of the classes.
    """

    hull: float
    ellipsoid: float


def volume_ratios(embeddings: ArrayLike, labels: ArrayLike) -> VolumeRatios:
    """Compute system B's summed volume ratios: how much of the embedding the classes fill; lower is tighter.

    The embeddings [N, D] are raw, and D is 2 or 3, where hulls are meaningful and cheap. Both ratios are NaN if all
    points together span no volume.
    """
    labels = as_labels(labels)
    points = as_rows(embeddings, labels, "embeddings").astype(np.float64)
    if points.shape[1] not in (2, 3):
        raise InputError(f"volume ratios need embeddings of 2 or 3 dimensions, but these have {points.shape[1]}.")
    total = _hull_volume(points)
    if total == 0.0:
        return VolumeRatios(math.nan, math.nan)
    groups = [points[labels == label] for label in np.unique(labels)]
    return VolumeRatios(
        hull=sum(_hull_volume(group) for group in groups) / total,
        ellipsoid=sum(_ellipsoid_volume(group) for group in groups) / total,
    )
