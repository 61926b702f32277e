"""Train a small head with each loss on frozen features of photographs, and measure what the claims are about."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from steradian import losses

WIDTH, DIMENSIONS, EPOCHS, BATCH, RATE = 256, 64, 30, 128, 1e-3
FASTER = 10.0
"""Learning rate of scores and scales relative to that of the other parameters: they are few and must change much."""

STRANGERS = 1 / 6
"""Share of the classes that nothing is trained on, whose images are strangers."""


@dataclass(frozen=True)
class Arm:
    """A loss and the options that are tried: those with the best validation accuracy on the first seed are taken."""

    name: str
    loss: str
    tries: tuple[dict[str, Any], ...] = ({},)


@dataclass(frozen=True)
class Split:
    """Features and labels of the parts; ``strangers`` are of classes that are in no other part.

    ``scaled`` has the features of all images.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    strangers: Tensor
    classes: int
    scaled: Tensor


def divided(
    labels: NDArray[np.int64], seed: int, few: int | None = None
) -> tuple[dict[str, NDArray[np.intp]], NDArray[np.int64]]:
    """Divide the images of each class 60 : 20 : 20 by ``seed``, and leave `STRANGERS` of the classes out.

    Returns:
        The rows of each part, and the labels of the classes that are not left out.
    """
    generator = np.random.default_rng(seed)
    names = generator.permutation(np.unique(labels))
    known = np.sort(names[round(STRANGERS * len(names)) :])
    parts: dict[str, list[NDArray[np.intp]]] = {"train": [], "validation": [], "test": []}
    for name in known:
        own = generator.permutation(np.flatnonzero(labels == name))
        first, second = round(0.6 * len(own)), round(0.8 * len(own))
        parts["train"].append(own[:first][:few])
        parts["validation"].append(own[first:second])
        parts["test"].append(own[second:])
    return {part: np.concatenate(found) for part, found in parts.items()}, known


def split(features: NDArray[np.float32], labels: NDArray[np.int64], seed: int, few: int | None = None) -> Split:
    """Divide the images as `divided` does, and scale their features by those of the training part."""
    rows, known = divided(labels, seed, few)
    mean, deviation = features[rows["train"]].mean(axis=0), features[rows["train"]].std(axis=0) + 1e-6
    scaled = torch.from_numpy((features - mean) / deviation)
    codes = torch.from_numpy(np.searchsorted(known, labels))
    made = {part: (scaled[chosen], codes[chosen]) for part, chosen in rows.items()}
    return Split(**made, strangers=scaled[np.flatnonzero(~np.isin(labels, known))], classes=len(known), scaled=scaled)


def trained(name: str, options: dict[str, Any], data: Split, seed: int) -> tuple[dict[str, float], float]:
    """Return the test numbers of the epoch with the best validation accuracy, and that accuracy."""
    best, numbers = -1.0, {}
    for body, loss in epochs(name, options, data, seed):
        x, y = data.validation
        with torch.no_grad():
            accuracy = float((scores(body, loss, data, x).argmax(1) == y).float().mean())
            if accuracy > best:
                best, numbers = accuracy, measured(body, loss, data)
    return numbers, best


def epochs(name: str, options: dict[str, Any], data: Split, seed: int) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Train for `EPOCHS`; yield the network and the loss after each, ready to be measured."""
    torch.manual_seed(seed)
    x, y = data.train
    body = nn.Sequential(nn.Linear(x.shape[1], WIDTH), nn.ReLU(), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, DIMENSIONS))
    loss = losses.create(name, data.classes, DIMENSIONS, **options)
    own = [p for name, p in loss.named_parameters() if "score" in name or "scale" in name]
    other = [p for name, p in loss.named_parameters() if "score" not in name and "scale" not in name]
    groups = [{"params": [*body.parameters(), *other]}, {"params": own, "lr": RATE * FASTER}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]], RATE)
    for _ in range(EPOCHS):
        body.train()
        loss.train()
        for batch in torch.randperm(len(x)).split(BATCH):
            if len(batch) > 1:
                optimizer.zero_grad()
                loss(body(x[batch]), y[batch]).backward()
                optimizer.step()
        body.eval()
        loss.eval()
        yield body, loss


def new_people(
    features: NDArray[np.float32], labels: NDArray[np.int64], seed: int, enrolled: int = 3
) -> dict[str, dict[str, float]]:
    """Add the classes that `split` leaves out, by ``enrolled`` images each: enroll them, or train again with them.

    Returns:
        By way: ``new``, accuracy of their other images among all classes, old and new; ``seconds`` that adding took.
    """
    known = split(features, labels, seed)
    generator = np.random.default_rng(seed)
    names = np.sort(generator.permutation(np.unique(labels))[: round(STRANGERS * len(np.unique(labels)))])
    rows = [generator.permutation(np.flatnonzero(labels == name)) for name in names]
    scaled = known.scaled
    codes = known.classes + torch.arange(len(names)).repeat_interleave(enrolled)
    given = (scaled[np.concatenate([own[:enrolled] for own in rows])], codes)
    asked = scaled[np.concatenate([own[enrolled:] for own in rows])]
    wanted = known.classes + torch.cat([torch.full((len(own) - enrolled,), n) for n, own in enumerate(rows)])
    whole = replace(
        known,
        train=(torch.cat([known.train[0], given[0]]), torch.cat([known.train[1], given[1]])),
        classes=known.classes + len(names),
    )
    *_, (body, _) = epochs("arcface", {"margin": 0.2, "scale": 8.0}, known, seed)
    answers = {}
    start = time.perf_counter()
    with torch.no_grad():
        means = class_means(body(whole.train[0]), whole.train[1], whole.classes)
        guess = (functional.normalize(body(asked)) @ means.T).argmax(1)
    answers["enrolled"] = {"new": float((guess == wanted).float().mean()), "seconds": time.perf_counter() - start}
    start = time.perf_counter()
    *_, (body, loss) = epochs("softmax", {}, whole, seed)
    with torch.no_grad():
        guess = loss.logits(body(asked)).argmax(1)
    answers["trained again"] = {"new": float((guess == wanted).float().mean()), "seconds": time.perf_counter() - start}
    return answers


def scores(body: nn.Module, loss: nn.Module, data: Split, x: Tensor) -> Tensor:
    """Return the logits of ``x``; for a loss of pairs, the cosines to the class means of the training images."""
    embeddings = body(x)
    if hasattr(loss, "logits"):
        return loss.logits(embeddings)
    return functional.normalize(embeddings) @ class_means(body(data.train[0]), data.train[1], data.classes).T


def class_means(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean direction of each class, [C, D]."""
    sums = torch.zeros(classes, embeddings.shape[1]).index_add_(0, labels, functional.normalize(embeddings))
    return functional.normalize(sums)


def measured(body: nn.Module, loss: nn.Module, data: Split) -> dict[str, float]:
    """Return what the claims are about, on the test part.

    top1, top5, rank (0-based, ties count half), ece (15 bins); means: accuracy by the nearest class mean; own, other:
    mean angle in degrees to the mean of the own and of the nearest other class; spread: the mean of the first angle by
    the second; norm_error, norm_stranger: share of
    pairs in which the longer embedding is the right one, against wrong answers and against strangers (AUC);
    best_error, best_stranger: the same for the best score.
    """
    x, y = data.test
    logits, embeddings, strange = scores(body, loss, data, x), body(x), body(data.strangers)
    target = logits.gather(1, y[:, None])
    rank = (logits > target).sum(1).float() + 0.5 * ((logits == target).sum(1) - 1).float()
    confidence, guess = torch.softmax(logits, 1).max(1)
    right = (guess == y).float()
    bins = (confidence * 15).long().clamp(max=14)
    gap = torch.zeros(15).index_add_(0, bins, confidence - right).abs().sum() / len(y)
    cosines = functional.normalize(embeddings) @ class_means(body(data.train[0]), data.train[1], data.classes).T
    others = cosines.scatter(1, y[:, None], -2.0).max(1).values
    own = cosines.gather(1, y[:, None])[:, 0]
    stranger_best = scores(body, loss, data, data.strangers).max(1).values
    return {
        "top1": float((rank < 0.75).float().mean()),
        "top5": float((rank < 4.75).float().mean()),
        "rank": float(rank.mean()),
        "ece": float(gap),
        "means": float((cosines.argmax(1) == y).float().mean()),
        "own": float(own.clamp(-1, 1).acos().rad2deg().mean()),
        "other": float(others.clamp(-1, 1).acos().rad2deg().mean()),
        "spread": float((own.clamp(-1, 1).acos() / others.clamp(-1, 1).acos()).mean()),
        "norm_error": auc(embeddings.norm(dim=1), right),
        "best_error": auc(logits.max(1).values, right),
        "norm_stranger": auc(
            torch.cat([embeddings.norm(dim=1), strange.norm(dim=1)]),
            torch.cat([torch.ones(len(x)), torch.zeros(len(strange))]),
        ),
        "best_stranger": auc(
            torch.cat([logits.max(1).values, stranger_best]),
            torch.cat([torch.ones(len(x)), torch.zeros(len(stranger_best))]),
        ),
    }


def auc(values: Tensor, right: Tensor) -> float:
    """Return the area under the ROC curve; NaN where all are right, or none."""
    return float(roc_auc_score(right.numpy(), values.numpy())) if 0 < right.mean() < 1 else float("nan")
