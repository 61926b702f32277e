"""From the features of a frozen encoder to an embedding and a classifier, chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.data.pixels import Progress, no_progress
from steradian.training.adaptation.blocks import Blocks
from steradian.training.adaptation.classification import Classification, choose_classifier
from steradian.training.adaptation.classifiers import Linear
from steradian.training.adaptation.embedding import EmbeddingChoice, Whitening, choose_embedding
from steradian.training.adaptation.folds import Indices, grouped_folds
from steradian.training.adaptation.groups import grouped
from steradian.training.adaptation.reduction import Reduction
from steradian.training.adaptation.scatter import Floats, Scatter


@dataclass(frozen=True)
class HeldOut:
    """Answers of the model of one fold to images that it was not fitted on, for calibration.

    Attributes:
        raw: embeddings [M, F]; those of two folds cannot be compared.
        logits: [M, C].
        cosine: [M] to the nearest class center.
        labels: int64 [M].
    """

    raw: Floats
    logits: Floats
    cosine: Floats
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Adaptation:
    """An affine embedding of encoder features and a linear classifier on it, with what was tried.

    Attributes:
        neck: raw embeddings [N, F] are ``features @ neck.weight + neck.bias``.
        head: logits [N, C] of raw embeddings.
        embedding, classification: the choices and what they were chosen from.
        held_out: answers to images whose group was not fitted on, by fold; empty where no class has two groups.
    """

    neck: Linear
    head: Linear
    embedding: EmbeddingChoice
    classification: Classification
    held_out: tuple[HeldOut, ...]


def adapt(
    features: Floats,
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    sizes: Sequence[int],
    names: NDArray[np.str_] | None = None,
    calibrate_on: Indices | None = None,
    whitening: Whitening | None = None,
    mixture: Classification | None = None,
    in_cells: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Adaptation:
    """Choose and fit an embedding and a classifier.

    Args:
        features: float32 [N, F] of the frozen encoder.
        labels: int64 [N] of C = ``num_classes`` classes.
        sizes: number of columns of each block of features, the final one last.
        names: groups of images that belong together, or None; near copies are grouped in any case.
        calibrate_on: images that the data sets aside for validation. They take the place of the folds, so that
            probabilities are fitted on them alone; None: three folds.
        whitening: the embedding; None: chosen on classes that are left out.
        mixture: the choice of classifiers; None: made by cross-validation.
        in_cells: whether the first blocks are stages averaged in cells: they are reduced to their principal components
            (`Reduction`), and an embedding of them alone is a candidate.
    """
    reduction = Reduction.of(features, sizes, seed) if in_cells else None
    if reduction is not None:
        features, sizes = reduction(features), reduction.sizes
    blocks, factors = Blocks.of(features, labels, sizes, alone=in_cells)
    groups = grouped(features[:, -sizes[-1] :], names)
    folds = _folds(labels, groups, calibrate_on, seed)
    if whitening is None:
        embedding = choose_embedding(blocks, groups, seed, progress)
    else:
        embedding = EmbeddingChoice(whitening, None, None, {}, ())
    classification = choose_classifier(blocks, num_classes, folds, progress, mixture)
    everything = np.arange(len(labels))
    whitening = embedding.whitening
    scatter = blocks.scatter(whitening.block, everything)
    neck = _neck(whitening, blocks.weights[whitening.block], factors, scatter)
    neck = neck if reduction is None else reduction.then(neck)
    head = _head(classification.linear, whitening, blocks.weights[whitening.block], scatter)
    held_out = tuple(_answers(blocks, whitening, *fold) for fold in classification.folds)
    return Adaptation(neck, head, embedding, classification, held_out)


def answers_of(adaptation: Adaptation, features: Floats, labels: NDArray[np.int64]) -> HeldOut:
    """Return what an adaptation says of ``features`` [M, F] of images that it was not fitted on."""
    raw = adaptation.neck(features)
    centers = adaptation.head.weight
    return HeldOut(raw, adaptation.head(raw), _nearest(raw, centers), labels)


def _nearest(raw: Floats, centers: Floats) -> Floats:
    """Return the highest cosine [M] of embeddings [M, F] to centers [F, C]."""
    lengths = np.linalg.norm(raw, axis=1)[:, None] * np.linalg.norm(centers, axis=0)
    cosines: Floats = (raw @ centers / np.maximum(lengths, 1e-30)).max(axis=1)
    return cosines


def _folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], calibrate_on: Indices | None, seed: int
) -> list[tuple[Indices, Indices]]:
    if calibrate_on is not None and len(calibrate_on):
        folds = [(np.setdiff1d(np.arange(len(labels)), calibrate_on), np.asarray(calibrate_on))]
    else:
        folds = grouped_folds(labels, groups, seed)
    known = [(fitted, held[np.isin(labels[held], labels[fitted])]) for fitted, held in folds]
    return [(fitted, held) for fitted, held in known if len(held) and len(np.unique(labels[fitted])) > 1]


def _neck(whitening: Whitening, weights: Floats, factors: Floats, scatter: Scatter) -> Linear:
    """Return the affine map from raw features to embeddings; its matrix times the features is [N, F]."""
    matrix = scatter.power(np.diag(weights * factors), whitening.shrinkage, -0.5)
    offset = scatter.power(whitening.centering * scatter.mean, whitening.shrinkage, -0.5)
    return Linear(matrix, -offset)


def _head(linear: Linear, whitening: Whitening, weights: Floats, scatter: Scatter) -> Linear:
    """Return the classifier of scaled features as one of embeddings: x = (S^1/2 e + centering * mean) / weights."""
    inverse = (linear.weight / weights[:, None]).T
    bias = linear.bias + inverse @ (whitening.centering * scatter.mean)
    return Linear(scatter.power(inverse, whitening.shrinkage, 0.5).T, bias)


def _answers(blocks: Blocks, whitening: Whitening, fitted: Indices, held: Indices, linear: Linear) -> HeldOut:
    """Return what the classifier of a fold says of its held-out images, and their cosines to its class centers."""
    scatter = blocks.scatter(whitening.block, fitted)
    head = _head(linear, whitening, blocks.weights[whitening.block], scatter)
    present = np.unique(blocks.labels[fitted])
    raw = whitening(blocks.at(whitening.block, held), scatter)
    return HeldOut(raw, head(raw), _nearest(raw, head.weight[:, present]), blocks.labels[held])
