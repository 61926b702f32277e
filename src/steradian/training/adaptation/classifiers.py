"""Linear classifiers on frozen features: class means, discriminants with a shrunk scatter, logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steradian.metrics.checks import unit
from steradian.training.adaptation.scatter import Floats, Scatter, class_means

Labels = NDArray[np.int64]

SHRINKAGES = (0.05, 0.1, 0.2, 0.4, 0.7, 0.9)
PENALTIES = (0.03, 0.3, 3.0)
"""Inverse penalties of logistic regression, on features of mean square norm 25."""

LOGISTIC_SHRINKAGE = 0.7

FEATURE_NORM = 5.0
MOST_LOGISTIC = 2e8
"""Largest product of images, features and classes for which logistic regression is tried: about a minute."""

ITERATIONS = 200


class Linear(NamedTuple):
    """Logits are ``features @ weight + bias``: weight [F, C], bias [C]."""

    weight: Floats
    bias: Floats

    def __call__(self, features: Floats) -> Floats:
        """Return logits [N, C]."""
        logits: Floats = features @ self.weight + self.bias
        return logits

    def scaled(self, factor: float) -> Linear:
        """Return the classifier whose logits are ``factor`` times as large."""
        return Linear(self.weight * np.float32(factor), self.bias * np.float32(factor))


class Training(NamedTuple):
    """What a classifier is fitted on: features [N, F], labels [N] of C classes, and the scatter of these."""

    features: Floats
    labels: Labels
    num_classes: int
    scatter: Scatter


def means_of_directions(data: Training) -> Linear:
    """Cosine to the mean direction of each class."""
    means, _ = class_means(unit(data.features), data.labels, data.num_classes)
    return Linear(unit(means).T, np.zeros(data.num_classes, np.float32))


def discriminant(data: Training, shrinkage: float) -> Linear:
    """Linear discriminant analysis with S of `Scatter`: m_c' S^-1 x - m_c' S^-1 m_c / 2 (Friedman 1989)."""
    means, _ = class_means(data.features, data.labels, data.num_classes)
    weight = data.scatter.power(means, shrinkage, -1.0)
    bias = -0.5 * (weight * means).sum(axis=1)
    return Linear(weight.T, bias)


def whitened_cosine(data: Training, shrinkage: float) -> Linear:
    """Cosine, up to its positive factor, of S^-1/2 (x - mean) to the mean direction of each class."""
    mean = data.scatter.mean
    white = unit(data.scatter.power(data.features - mean, shrinkage, -0.5))
    means, _ = class_means(white, data.labels, data.num_classes)
    weight = data.scatter.power(unit(means), shrinkage, -0.5)
    return Linear(weight.T, -weight @ mean)


def logistic(data: Training, penalty: float) -> Linear:
    """Multinomial logistic regression with an L2 penalty on features whitened by S with λ = `LOGISTIC_SHRINKAGE`.

    Whitened features need a quarter of the steps of plain ones, at the same accuracy (benchmarks/promises). The
    penalized weights lie in the span of the rows, so fewer rows than features are rotated into their own space.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scatter = data.scatter
    white = scatter.power(data.features - scatter.mean, LOGISTIC_SHRINKAGE, -0.5)
    scale = np.float32(FEATURE_NORM / max(1e-12, float(np.sqrt(np.square(white).sum(axis=1).mean()))))
    white = scale * white
    basis = np.linalg.qr(white.T)[0] if len(white) < white.shape[1] else None
    with warnings.catch_warnings():
        # An early end is no error: cross-validation judges what came of it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=penalty, max_iter=ITERATIONS).fit(
            white if basis is None else white @ basis, data.labels
        )
    rows, offsets = fitted.coef_.astype(np.float32), fitted.intercept_.astype(np.float32)
    if len(fitted.classes_) == 2:
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    rows = scale * (rows if basis is None else rows @ basis.T)
    weight = np.zeros((data.num_classes, data.features.shape[1]), np.float32)
    weight[fitted.classes_] = scatter.power(rows, LOGISTIC_SHRINKAGE, -0.5)
    bias = -weight @ scatter.mean
    bias[fitted.classes_] += offsets
    return Linear(weight.T, bias)


Fit = Callable[[Training], Linear]


def candidates(images: int, features: int, num_classes: int) -> dict[str, Fit]:
    """Return the classifiers to compare, by name; logistic regression only where it takes about a minute or less."""
    table: dict[str, Fit] = {"class means": means_of_directions}
    for value in SHRINKAGES:
        table[f"discriminant, shrinkage {value:g}"] = partial(discriminant, shrinkage=value)
        table[f"whitened class means, shrinkage {value:g}"] = partial(whitened_cosine, shrinkage=value)
    if images * features * num_classes <= MOST_LOGISTIC:
        for value in PENALTIES:
            table[f"logistic regression, C {value:g}"] = partial(logistic, penalty=value)
    return table
