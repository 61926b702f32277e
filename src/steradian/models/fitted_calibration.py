"""Fit temperature, candidate sets and thresholds on images held out for calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.errors import InputError
from steradian.metrics.checks import Floats
from steradian.models.calibration import COVERAGES, FARS, KNOTS, Calibration, PairCurve, StrangerScores, Threshold

FEWEST = 20
"""Fewest images, and fewest pairs of each kind, to fit probabilities on."""

SIZES = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of enrolled classes at which strangers are asked."""

ENROLLED, ENROLLMENTS, STRANGER_KNOTS = 5, 5, 60
"""Images of a class that are enrolled to ask strangers, how often they are drawn, and most rates that are kept."""

STRANGER_STRATEGIES: tuple[Literal["nearest", "mean"], ...] = ("nearest", "mean")

PAIRED = 2000
"""Most images whose pairs are used: two million pairs."""


Part = tuple[Floats, NDArray[np.int64]]
"""Embeddings [N, D] with labels [N]. Pairs are made within a part: those of two folds are of two models."""


def fit_calibration(
    logits: Floats, cosine: Floats, labels: NDArray[np.int64], pairs: PairCurve | None, measured_on: str
) -> Calibration | None:
    """Fit a calibration on images used for nothing else; return None for fewer than `FEWEST` images.

    The logits [N, C] are margin-free, ``cosine`` [N] is to the nearest class center; ``pairs`` is of `pair_curve`.
    """
    if len(labels) < FEWEST:
        return None
    temperature = metrics.fit_temperature(logits, labels, doubt=1.0 / (len(labels) + 2))
    true_probabilities = metrics.softmax(logits / temperature)[np.arange(len(labels)), labels]
    bounds = {f"{share:g}": metrics.conformal_bound(1.0 - true_probabilities, share) for share in COVERAGES}
    known = {f"{share:g}": -metrics.conformal_bound(-cosine, share) for share in COVERAGES}
    return Calibration(
        temperature=temperature,
        coverage_quantiles={share: bound for share, bound in bounds.items() if math.isfinite(bound)},
        known_cosines={share: bound for share, bound in known.items() if math.isfinite(bound)},
        pairs=pairs,
        measured_on=measured_on,
    )


def pair_curve(parts: Sequence[Part]) -> PairCurve | None:
    """Fit P(same class | cosine) on pairs within parts; None with fewer than `FEWEST` genuine or impostor pairs."""
    scores = [metrics.pair_scores(raw, labels, max_items=PAIRED) for raw, labels in parts]
    genuine = np.concatenate([part.genuine for part in scores] or [np.zeros(0)])
    impostor = np.concatenate([part.impostor for part in scores] or [np.zeros(0)])
    if min(len(genuine), len(impostor)) < FEWEST:
        return None
    same = np.arange(len(genuine) + len(impostor)) < len(genuine)
    weights = np.where(same, 0.5 / len(genuine), 0.5 / len(impostor))
    fitted = metrics.fit_isotonic(np.concatenate([genuine, impostor]), same, weights)
    indices = np.unique(np.linspace(0, len(fitted.knots) - 1, min(len(fitted.knots), KNOTS)).astype(int))
    return PairCurve(cosines=fitted.knots[indices].tolist(), probabilities=fitted.probabilities[indices].tolist())


def fit_thresholds(parts: Sequence[Part], measured_on: str, seed: int = 0) -> tuple[Threshold, ...]:
    """Fit a cosine threshold for each rate of `FARS` that the pairs within ``parts`` support, with 95 % intervals.

    Intervals resample identities (`metrics.identity_interval`), so they hold for other identities of the same kind.
    A rate that half of the identities cannot support gets no threshold.
    """
    most = PAIRED // max(1, len(parts))
    sampled = [_sample(raw, labels, most, seed) for raw, labels in parts]
    if not sampled:
        return ()
    vectors = [metrics.unit(raw).astype(np.float32) for raw, _ in sampled]
    labels = np.concatenate([labels for _, labels in sampled])
    part_of = np.repeat(np.arange(len(sampled)), [len(labels) for _, labels in sampled])
    starts = np.searchsorted(part_of, np.arange(len(sampled)))
    thresholds = []
    for far in FARS:

        def threshold(chosen: NDArray[np.intp], far: float = far) -> float:
            impostors = []
            for part, start in enumerate(starts):
                rows = chosen[part_of[chosen] == part]
                names, rows = labels[rows], rows - start
                different = np.triu(names[:, None] != names[None, :], 1)
                impostors.append((vectors[part][rows] @ vectors[part][rows].T)[different])
            return metrics.impostor_threshold(np.concatenate(impostors), far)

        try:
            interval = metrics.identity_interval(threshold, labels, rounds=100, seed=seed)
        except InputError:
            continue
        if not math.isnan(interval.mean):
            thresholds.append(
                Threshold(far=far, cosine=interval.mean, low=interval.low, high=interval.high, measured_on=measured_on)
            )
    return tuple(thresholds)


def fit_strangers(parts: Sequence[Part], measured_on: str, seed: int = 0) -> tuple[StrangerScores, ...]:
    """Measure strangers at galleries of the `SIZES` that the parts have classes for, and of nearly all their classes.

    A few images of each class of a gallery are enrolled, and the other images of the part are asked. A stranger's score
    is its highest cosine to an enrolled image of another class, or to the mean of one. Sizes with fewer than `FEWEST`
    scores are left out.
    """
    largest = max((len(np.unique(labels)) for _, labels in parts), default=0)
    measured = []
    for size in (*(one for one in SIZES if one < 0.8 * largest), largest):
        generator = np.random.default_rng([seed, size])
        attempts = (_ask(raw, labels, size, generator) for raw, labels in parts for _ in range(ENROLLMENTS))
        drawn = [asked for asked in attempts if asked is not None]
        if sum(len(one.nearest) for one in drawn) < FEWEST:
            continue
        identities = float(np.mean([one.others for one in drawn]))
        for strategy in STRANGER_STRATEGIES:
            descending = np.sort(np.concatenate([getattr(one, strategy) for one in drawn]))[::-1]
            places = np.unique(np.geomspace(1, len(descending) // 2, STRANGER_KNOTS).astype(int))[::-1]
            measured.append(
                StrangerScores(
                    strategy=strategy,
                    identities=identities,
                    rates=(places / len(descending)).tolist(),
                    cosines=np.clip(descending[places - 1], -1.0, 1.0).tolist(),
                    measured_on=measured_on,
                )
            )
    return tuple(measured)


class _Asked(NamedTuple):
    """Highest cosines [A] of strangers to an image and to a mean, and the mean number of other classes enrolled."""

    nearest: Floats
    mean: Floats
    others: float


def _ask(raw: Floats, labels: NDArray[np.int64], size: int, generator: np.random.Generator) -> _Asked | None:
    """Enroll ``size`` random classes and ask the other images; None for fewer than two classes."""
    vectors = metrics.unit(raw).astype(np.float32)
    classes = generator.permutation(np.unique(labels))[:size]
    if len(classes) < 2:
        return None
    order = generator.permutation(len(labels))
    by_class = [order[labels[order] == label][:ENROLLED] for label in classes]
    enrolled = np.concatenate(by_class)
    probes = np.setdiff1d(order, enrolled) if len(enrolled) < len(labels) else order
    means = metrics.unit(np.stack([vectors[images].mean(axis=0) for images in by_class])).astype(np.float32)
    to_images, to_means = vectors[probes] @ vectors[enrolled].T, vectors[probes] @ means.T
    to_images[labels[probes][:, None] == labels[enrolled][None, :]] = -np.inf
    to_means[labels[probes][:, None] == classes[None, :]] = -np.inf
    others = len(classes) - float(np.isin(labels[probes], classes).mean())
    return _Asked(to_images.max(axis=1), to_means.max(axis=1), others)


def _sample(raw: Floats, labels: NDArray[np.int64], most: int, seed: int) -> Part:
    if len(labels) <= most:
        return raw, labels
    sample = np.sort(np.random.default_rng(seed).choice(len(labels), most, replace=False))
    return raw[sample], labels[sample]
