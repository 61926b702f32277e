"""Choose a linear classifier by cross-validation over groups: the mixture of candidates that predicts best."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from steradian import metrics
from steradian.data.pixels import Progress, no_progress
from steradian.training.adaptation.blocks import Blocks
from steradian.training.adaptation.classifiers import Labels, Linear, Training, candidates
from steradian.training.adaptation.folds import Indices
from steradian.training.adaptation.scatter import Floats

MEMBERS = 6
"""Most members of a mixture; one may be taken several times."""

ABSENT = -1e3
"""Logit of a class without images in a fold: it is never predicted."""

LEAST_GAIN = 1e-3
"""Smallest gain in mean log-likelihood for which another member is taken."""


@dataclass(frozen=True)
class Tried:
    """A candidate and what cross-validation said of it: accuracy, and mean log-likelihood per image."""

    name: str
    accuracy: float
    log_likelihood: float


@dataclass(frozen=True)
class Classification:
    """A fitted classifier and its cross-validated answers.

    Attributes:
        linear: fitted on all images; takes the unweighted features of `Blocks`, like those of the folds.
        members: names of the mixture's members.
        factors: on the logits of each member, by name.
        tried: all candidates, the best first.
        folds: (fitted, held out, classifier fitted without the latter) of each fold.
    """

    linear: Linear
    members: tuple[str, ...]
    factors: dict[str, float]
    tried: tuple[Tried, ...]
    folds: tuple[tuple[Indices, Indices, Linear], ...]


def choose_classifier(
    blocks: Blocks,
    num_classes: int,
    folds: list[tuple[Indices, Indices]],
    progress: Progress = no_progress,
    given: Classification | None = None,
) -> Classification:
    """Fit all candidates on the folds, mix those that predict the held-out images best, and fit the mixture on all.

    The members are chosen greedily by the likelihood of the held-out images, with replacement (Caruana et al. 2004),
    after each was brought to its best temperature. All of them are linear, so the mixture is one linear classifier.

    Args:
        folds: of `grouped_folds`; empty: the class means, untested.
        progress: shows the progress over candidates.
        given: a choice whose mixture is fitted as it is; None: choose.
    """
    labels = blocks.labels
    table = candidates(0 if given is not None else len(labels), blocks.features.shape[1], num_classes)
    fits = {f"{name} ({block})": (block, fit) for block in blocks.weights for name, fit in table.items()}

    def fit(name: str, indices: Indices) -> Linear:
        block, function = fits[name]
        scatter = blocks.scatter(block, indices)
        linear = function(Training(blocks.at(block, indices), labels[indices], num_classes, scatter))
        absent = np.bincount(labels[indices], minlength=num_classes) == 0
        bias = np.where(absent, ABSENT, linear.bias).astype(np.float32)
        return Linear(linear.weight * blocks.weights[block][:, None], bias)

    def mixed(members: tuple[str, ...], factors: dict[str, float], indices: Indices) -> Linear:
        parts = {name: fit(name, indices).scaled(factors[name]) for name in set(members)}
        return _mean([parts[name] for name in members])

    everything = np.arange(len(labels))
    if given is not None:
        return replace(given, linear=mixed(given.members, given.factors, everything), folds=())
    if not folds:
        name = next(iter(fits))
        return Classification(fit(name, everything), (name,), {name: 1.0}, (), ())
    held_out = np.concatenate([held for _, held in folds])
    truth = labels[held_out]
    names, logits = list(fits), {}
    for index in progress(range(len(names)), len(names), "cross-validating classifiers"):
        name = names[index]
        logits[name] = np.concatenate([fit(name, fitted)(blocks.features[held]) for fitted, held in folds])
    doubt = 1.0 / (len(truth) + 2)
    factors = {name: 1.0 / metrics.fit_temperature(values, truth, doubt) for name, values in logits.items()}
    scores = {name: values * np.float32(factors[name]) for name, values in logits.items()}
    tried = [
        Tried(name, float((values.argmax(axis=1) == truth).mean()), _likelihood(values, truth))
        for name, values in scores.items()
    ]
    members = _mix(scores, truth)

    return Classification(
        mixed(members, factors, everything),
        members,
        {name: factors[name] for name in members},
        tuple(sorted(tried, key=lambda one: -one.log_likelihood)),
        tuple((fitted, held, mixed(members, factors, fitted)) for fitted, held in folds),
    )


def _mix(scores: dict[str, Floats], truth: Labels) -> tuple[str, ...]:
    """Return the members of the best mixture of ``scores`` [N, C], by the likelihood of its mean."""
    members: list[str] = []
    total = np.zeros_like(next(iter(scores.values())))
    best = -np.inf
    for count in range(1, MEMBERS + 1):
        likelihoods = {
            name: _likelihood((total + values) / np.float32(count), truth) for name, values in scores.items()
        }
        name = max(likelihoods, key=lambda one: likelihoods[one])
        if likelihoods[name] < best + LEAST_GAIN:
            break
        best, total = likelihoods[name], total + scores[name]
        members.append(name)
    return tuple(members)


def _mean(classifiers: list[Linear]) -> Linear:
    weight = np.stack([one.weight for one in classifiers]).mean(axis=0)
    bias = np.stack([one.bias for one in classifiers]).mean(axis=0)
    return Linear(weight, bias)


def _likelihood(logits: Floats, truth: NDArray[np.int64]) -> float:
    return float(log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean())
