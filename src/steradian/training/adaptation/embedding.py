"""Choose the embedding by classes that it was not fitted on, beside the encoder's own features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian import metrics
from steradian.data.pixels import Progress, no_progress
from steradian.metrics.checks import unit
from steradian.training.adaptation.blocks import FINAL, Blocks
from steradian.training.adaptation.folds import Indices, class_folds
from steradian.training.adaptation.scatter import Floats, Scatter

Labels = NDArray[np.int64]

SHRINKAGES = (0.1, 0.3, 0.6, 0.9)
CENTERINGS = (0.0, 0.5, 1.0)
FAR = 1e-2
STRANGERS = 1e-2
MOST = 1200
"""Largest number of unseen images of a fold that are compared: 720,000 pairs."""

SLACK = 0.003
"""What an embedding may lose against the untrained features in one number to gain more in the other."""


@dataclass(frozen=True)
class Whitening:
    """An embedding of features x: S^-1/2 (x - centering * mean), see `Scatter`.

    Attributes:
        block: name of the feature weights.
        shrinkage: λ of S in (0, 1]; 1: the features keep their lengths.
        centering: share of the mean that is subtracted.
    """

    block: str
    shrinkage: float = 1.0
    centering: float = 0.0

    def __call__(self, features: Floats, scatter: Scatter) -> Floats:
        """Return embeddings [N, F] of features [N, F]."""
        return scatter.power(features - self.centering * scatter.mean, self.shrinkage, -0.5)

    def __str__(self) -> str:
        if self.shrinkage == 1.0 and self.centering == 0.0:
            return f"features ({self.block})"
        return f"whitened, shrinkage {self.shrinkage:g}, centering {self.centering:g} ({self.block})"


@dataclass(frozen=True)
class UnseenScore:
    """What an embedding does for classes that it was not fitted on, means over folds.

    Attributes:
        recall_at_1: share of images whose nearest image of another group is of their class.
        tar: share of pairs of one class that are accepted where a share `FAR` of the others is.
        mean_rank: mean over images of the number of images of other classes before the first of their own, plus 1.
        identified: share of images that are named right where a share `STRANGERS` of them, asked as strangers, is given
            a name: without their own class, their highest cosine exceeds the threshold.
    """

    recall_at_1: float
    tar: float
    mean_rank: float
    identified: float


@dataclass(frozen=True)
class UnseenFold:
    """Embeddings [n, F] of the classes that one fold did not fit on, with their labels and groups [n]."""

    vectors: Floats
    labels: Labels
    groups: Labels


@dataclass(frozen=True)
class EmbeddingChoice:
    """The chosen embedding, and what cross-validation over classes said.

    Attributes:
        whitening: the choice.
        chosen, untrained: scores of the choice and of the encoder's own features; None where nothing can be told.
        tried: the scores of all candidates.
        folds: embeddings of unseen classes, for thresholds.
        images: number of images in the folds; one that is in several counts once.
    """

    whitening: Whitening
    chosen: UnseenScore | None
    untrained: UnseenScore | None
    tried: dict[str, UnseenScore]
    folds: tuple[UnseenFold, ...]
    images: int = 0


def choose_embedding(blocks: Blocks, groups: Labels, seed: int, progress: Progress = no_progress) -> EmbeddingChoice:
    """Compare embeddings on unseen classes and return the best that loses nowhere against the untrained features.

    Recall and TAR of a candidate may not be more than `SLACK` below those of the encoder's final features; of the
    remaining candidates the sum of both decides. The features themselves are a candidate.
    """
    untrained, labels = Whitening(FINAL), blocks.labels
    folds = list(class_folds(labels, seed))
    if not folds:
        return EmbeddingChoice(untrained, None, None, {}, ())
    parts: dict[Whitening, list[UnseenScore]] = {}
    for number in progress(range(len(folds)), len(folds), "comparing embeddings on classes left out"):
        seen, unseen = folds[number]
        asked = _sample(unseen, labels, seed + number)
        for whitening, vectors in _embeddings(blocks, seen, asked):
            score = score_unseen(vectors, labels[asked], groups[asked])
            if score is not None:
                parts.setdefault(whitening, []).append(score)
    if not parts:
        return EmbeddingChoice(untrained, None, None, {}, ())
    scores = {whitening: _mean(of_folds) for whitening, of_folds in parts.items()}
    base = scores[untrained]
    allowed = {
        whitening: score
        for whitening, score in scores.items()
        if score.recall_at_1 >= base.recall_at_1 - SLACK and score.tar >= base.tar - SLACK
    }
    best = max(allowed, key=lambda one: allowed[one].recall_at_1 + allowed[one].tar)
    kept, images = [], np.zeros(0, dtype=np.intp)
    for number, (seen, unseen) in enumerate(folds):
        asked = _sample(unseen, labels, seed + number)
        vectors = best(blocks.at(best.block, asked), blocks.scatter(best.block, seen))
        kept.append(UnseenFold(vectors, labels[asked], groups[asked]))
        images = np.union1d(images, asked)
    tried = {str(one): score for one, score in scores.items()}
    return EmbeddingChoice(best, scores[best], base, tried, tuple(kept), len(images))


def score_unseen(vectors: Floats, labels: Labels, groups: Labels) -> UnseenScore | None:
    """Compare all images with all others; images of one group are not compared. None without both kinds of pairs."""
    directions = unit(vectors)
    cosines = directions @ directions.T
    same = labels[:, None] == labels[None, :]
    apart = groups[:, None] != groups[None, :]
    pairs = np.triu(apart, 1)
    genuine, impostor = cosines[pairs & same], cosines[pairs & ~same]
    asked = (same & apart).any(axis=1) & (~same).any(axis=1)
    if len(genuine) == 0 or len(impostor) == 0 or not asked.any():
        return None
    cosines[~apart] = -2.0
    best_own = np.where(same, cosines, -2.0).max(axis=1)
    before = (~same & (cosines >= best_own[:, None])).sum(axis=1)[asked]
    threshold = _exceeded_by(impostor, FAR)
    nearest_other = np.where(same, -2.0, cosines).max(axis=1)[asked]
    own = best_own[asked]
    identified = (own > nearest_other) & (own > _exceeded_by(nearest_other, STRANGERS))
    return UnseenScore(
        float((before == 0).mean()),
        float((genuine > threshold).mean()),
        float(before.mean(dtype=np.float64)) + 1.0,
        float(identified.mean()),
    )


def _exceeded_by(scores: Floats, share: float) -> float:
    """Return the threshold that at most a share of ``scores`` exceeds; the highest score where these are few."""
    return metrics.impostor_threshold(scores, share) if len(scores) >= 1 / share else float(scores.max())


def _embeddings(blocks: Blocks, seen: Indices, asked: Indices) -> Iterator[tuple[Whitening, Floats]]:
    """Yield every candidate with the embeddings of the images ``asked`` when it is fitted on the images ``seen``."""
    for block in blocks.weights:
        scatter, features = blocks.scatter(block, seen), blocks.at(block, asked)
        for whitening in (
            Whitening(block),
            *(Whitening(block, shrinkage, centering) for shrinkage in SHRINKAGES for centering in CENTERINGS),
        ):
            yield whitening, whitening(features, scatter)


def _sample(images: Indices, labels: Labels, seed: int) -> Indices:
    """Return all ``images``, or whole classes of them, drawn until `MOST` is reached."""
    if len(images) <= MOST:
        return images
    classes = np.random.default_rng(seed).permutation(np.unique(labels[images]))
    counts = np.bincount(labels[images], minlength=int(classes.max()) + 1)[classes]
    taken = classes[: max(2, int((np.cumsum(counts) <= MOST).sum()))]
    chosen = images[np.isin(labels[images], taken)]
    if len(chosen) <= MOST:
        return chosen
    return np.sort(np.random.default_rng(seed).choice(chosen, MOST, replace=False))


def _mean(scores: list[UnseenScore]) -> UnseenScore:
    return UnseenScore(
        *(
            float(np.mean([getattr(one, name) for one in scores]))
            for name in ("recall_at_1", "tar", "mean_rank", "identified")
        )
    )
