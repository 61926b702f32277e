"""The within-class scatter of features, shrunk towards a sphere, and its powers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scatter:
    """S = (1 - λ) W + λ (tr W / F) I for any λ, where W is the covariance of features within classes.

    Attributes:
        values: [R] positive eigenvalues of W.
        directions: [F, R] their eigenvectors; W is zero in all other directions.
        mean: [F] of all features.
    """

    values: Floats
    directions: Floats
    mean: Floats

    @classmethod
    def of(cls, features: Floats, labels: NDArray[np.int64]) -> Scatter:
        """Measure features [N, F] of labels [N]; with one image in every class, the scatter is that of all images."""
        means, counts = class_means(features, labels, int(labels.max()) + 1)
        residuals = features - means[labels]
        freedom = len(labels) - int((counts > 0).sum())
        mean = features.mean(axis=0)
        if freedom == 0:
            residuals, freedom = features - mean, max(1, len(labels) - 1)
        if len(residuals) < residuals.shape[1]:
            _, roots, rows = np.linalg.svd(residuals, full_matrices=False)
            values, directions = np.square(roots) / freedom, rows.T
        else:
            values, directions = np.linalg.eigh(residuals.T @ residuals / freedom)
        kept = values > 1e-7 * max(float(values.max()), 1e-30)
        return cls(values[kept], np.ascontiguousarray(directions[:, kept]), mean)

    def power(self, vectors: Floats, shrinkage: float, exponent: float) -> Floats:
        """Return ``vectors`` [..., F] times S to the power ``exponent``, for λ = ``shrinkage`` in (0, 1].

        S is scaled to the mean eigenvalue 1, so that λ = 1 changes nothing.
        """
        level = max(float(self.values.sum()) / len(self.mean), 1e-30)
        rest = shrinkage**exponent
        factors = ((1.0 - shrinkage) * self.values / level + shrinkage) ** exponent - rest
        powered: Floats = rest * vectors + ((vectors @ self.directions) * factors) @ self.directions.T
        return powered


def class_means(features: Floats, labels: NDArray[np.int64], num_classes: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return the mean [C, F] of each class, zero for one without images, and the number of images [C] of each."""
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.zeros((num_classes, features.shape[1]), dtype=np.float64)
    order = np.argsort(labels, kind="stable")
    present = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[present])[:-1]])
    sums[present] = np.add.reduceat(features[order], starts, axis=0, dtype=np.float64)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts
