"""How the classes lie in the embedding: angles on the sphere, and the volume that they fill."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import chi2

from steradian.errors import InputError
from steradian.metrics.checks import Floats, Ints, as_labels, as_rows, unit


def _angles(cosine: Floats) -> Floats:
    found: Floats = np.arccos(np.clip(cosine, -1.0, 1.0))
    return found


def class_means(embeddings: ArrayLike, labels: ArrayLike) -> tuple[Ints, Floats]:
    """The labels [K] that occur, sorted, and the unit mean direction [K, D] of each."""
    labels = as_labels(labels)
    vectors = unit(as_rows(embeddings, labels, "embeddings")).astype(np.float64)
    known, codes = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(known), vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    return known, unit(sums)


@dataclass(frozen=True)
class ClassAngles:
    """Angles in radians between each embedding and the mean directions of the classes.

    Attributes:
        own: [N], to the mean of its own class.
        nearest_other: [N], to the nearest mean of another class.
        between: [K (K - 1) / 2], between the means of all pairs of classes.
    """

    own: Floats
    nearest_other: Floats
    between: Floats


def class_angles(embeddings: ArrayLike, labels: ArrayLike) -> ClassAngles:
    """Intra- and inter-class angles from embeddings [N, D] and int labels [N] of at least two classes."""
    labels = as_labels(labels)
    known, means = class_means(embeddings, labels)
    if len(known) < 2:
        raise InputError("angles between classes need at least two classes.")
    cosine = unit(np.asarray(embeddings, dtype=np.float64)) @ means.T
    codes = np.searchsorted(known, labels)
    rows = np.arange(len(labels))
    own = cosine[rows, codes].copy()
    cosine[rows, codes] = -np.inf
    first, second = np.triu_indices(len(known), k=1)
    pairs = (means[first] * means[second]).sum(axis=1)
    return ClassAngles(_angles(own), _angles(cosine.max(axis=1)), _angles(pairs))


def _hull_volume(points: Floats) -> float:
    """Volume of the convex hull of ``points`` [N, D]; 0 when they span no volume."""
    if len(points) <= points.shape[1]:
        return 0.0
    try:
        return float(ConvexHull(points).volume)
    except QhullError:
        return 0.0


def _ellipsoid_volume(points: Floats, share: float = 0.95) -> float:
    """Volume of the ellipsoid that holds ``share`` of a normal distribution with the points' covariance.

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
    """Sums over classes of the volume of each, over the volume of the hull of all points.

    Attributes:
        hull: of the convex hulls.
        ellipsoid: of the 95 % ellipsoids.
    """

    hull: float
    ellipsoid: float


def volume_ratios(embeddings: ArrayLike, labels: ArrayLike) -> VolumeRatios:
    """How much of the embedding the classes fill: system B's summed volume ratios, lower is tighter.

    They are of raw embeddings [N, D] with D of 2 or 3, where hulls are meaningful and cheap. Both are NaN
    where all points together span no volume.
    """
    labels = as_labels(labels)
    points = as_rows(embeddings, labels, "embeddings").astype(np.float64)
    if points.shape[1] not in (2, 3):
        raise InputError(f"volume ratios are for embeddings of 2 or 3 dimensions, but these have {points.shape[1]}.")
    whole = _hull_volume(points)
    if whole == 0.0:
        return VolumeRatios(math.nan, math.nan)
    groups = [points[labels == label] for label in np.unique(labels)]
    return VolumeRatios(
        hull=sum(_hull_volume(group) for group in groups) / whole,
        ellipsoid=sum(_ellipsoid_volume(group) for group in groups) / whole,
    )
