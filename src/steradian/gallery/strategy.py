"""Choose by the gallery's own images what queries are compared with, and how their threshold is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.search.exact import unit
from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import (
    FEWEST_IDENTITIES,
    FEWEST_OWN,
    NEXT,
    descending,
    highest_of_each,
    relative_scores,
)

Strategy = Literal["nearest", "mean", "blended"]

ROUNDS = 5
FEWEST_ASKED, SCORES = 100, 2_000_000
"""Most cosines that are computed for a strategy in a round, with this number of images asked at least."""

MOST_IMAGES = 5000
"""Most images of the gallery that are asked for: copies of them are blended in every round."""

RATES = (0.02, 0.05, 0.1, 0.2)
"""Shares of strangers at which relative thresholds are compared with a common one."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Comparison:
    """How a gallery compares queries by default.

    Attributes:
        strategy: see `Gallery.identify`.
        relative: whether the threshold of a query rises with its similarity to the identities next to the best, see
            `strangers.relative_scores`.
    """

    strategy: Strategy
    relative: bool = False


def compared_with(strategy: str) -> Comparison:
    """Return how strangers are compared for a strategy of `Gallery.identify`.

    Votes decide between images above the threshold, so their strangers are those of the nearest image.
    """
    names: dict[str, Strategy] = {"mean": "mean", "blended": "blended"}
    return Comparison(names.get(strategy, "nearest"))


@dataclass(frozen=True)
class _Asked:
    """Images of a gallery, asked for the rest of it.

    Attributes:
        own: [A], cosine to the own identity, of which the image is not a part now.
        others: [A, NEXT + 1], descending: the highest cosines to other identities.
    """

    own: Floats
    others: Floats

    @classmethod
    def of(
        cls,
        probes: NDArray[np.float32],
        owners: NDArray[np.int64],
        vectors: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> _Asked:
        """Ask ``probes`` [A, D] of ``owners`` [A] for ``vectors`` [N, D] of ``labels`` [N], sorted, from 0."""
        highest = highest_of_each(probes, vectors, labels)
        rows = np.arange(len(probes))
        own = highest[rows, owners].copy()
        highest[rows, owners] = -np.inf
        return cls(own, descending(highest, NEXT + 1))

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.own > self.others[:, 0]

    def relative_gain(self) -> Floats:
        """Return how much more often each image is named with relative thresholds, as a mean over `RATES`, [A]."""
        known = np.concatenate([self.own[:, None], self.others[:, :NEXT]], axis=1)
        gain = np.zeros(len(self.own))
        for rate in RATES:
            common = np.quantile(self.others[:, 0], 1.0 - rate)
            relative = np.quantile(relative_scores(self.others), 1.0 - rate)
            gain += self.right & (relative_scores(known) > relative)
            gain -= self.right & (self.own > common)
        return gain / len(RATES)


def choose_comparison(snapshot: Snapshot, seed: int = 0, *, plain: bool = False) -> Comparison:
    """Hold out one image of each identity, ask for it, and return the comparison that names more of them right.

    Equal numbers choose the mean, then blended images. Relative thresholds are chosen where the 95 % interval of what
    they gain lies above zero: asked without its own identity, each image is a stranger, too. With fewer than
    `FEWEST_IDENTITIES` that have two images, the answer is the nearest image; blended images and relative thresholds
    need `FEWEST_OWN`, because only the gallery's own images tell about strangers then. Of a large gallery, some
    identities are asked, of at most `MOST_IMAGES` images together.

    Args:
        plain: leave out what only the gallery's own images tell about: blended images and relative thresholds.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(snapshot.identities))
    order = order[np.argsort(snapshot.identities[order], kind="stable")]
    order = order[_of_some(snapshot.identities[order], generator)]
    vectors = snapshot.vectors[order]
    labels = np.unique(snapshot.identities[order], return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(labels)
    several = np.flatnonzero(sizes >= 2)
    if len(several) < FEWEST_IDENTITIES:
        return Comparison("nearest")
    chosen = np.sort(generator.permutation(several)[: max(FEWEST_ASKED, SCORES // len(labels))])
    starts = np.searchsorted(labels, chosen)
    rounds = [_asked(vectors, labels, starts + number % sizes[chosen]) for number in range(ROUNDS)]
    asked = {
        name: _Asked(*(np.concatenate([getattr(one[name], part) for one in rounds]) for part in ("own", "others")))
        for name in rounds[0]
    }
    enough = len(sizes) >= FEWEST_OWN and not plain
    candidates: tuple[Strategy, ...] = ("mean", "blended", "nearest") if enough else ("mean", "nearest")
    strategy = max(candidates, key=lambda name: int(asked[name].right.sum()))
    relative = enough and _lies_above_zero(asked[strategy].relative_gain().reshape(ROUNDS, -1).mean(axis=0))
    return Comparison(strategy, relative)


def _of_some(identities: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Choose images of some identities, of at most `MOST_IMAGES` images together; ``identities`` [N] are sorted."""
    numbers, sizes = np.unique(identities, return_counts=True)
    order = generator.permutation(len(numbers))
    return np.isin(identities, numbers[order[: max(1, int((np.cumsum(sizes[order]) <= MOST_IMAGES).sum()))]])


def _lies_above_zero(gains: Floats) -> bool:
    """Return whether the 95 % interval of the mean of ``gains`` [I], one of each identity, is above zero."""
    from scipy.stats import t

    error = gains.std(ddof=1) / len(gains) ** 0.5
    return bool(gains.mean() > t.ppf(0.975, len(gains) - 1) * error)


def _asked(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], held_out: NDArray[np.int64]
) -> dict[Strategy, _Asked]:
    """Ask the images ``held_out`` for the others of ``vectors`` [N, D] with ``labels`` [N], sorted, from 0."""
    probes, owners = vectors[held_out], labels[held_out]
    rest, theirs = np.delete(vectors, held_out, axis=0), np.delete(labels, held_out)
    means = unit(np.add.reduceat(rest, np.searchsorted(theirs, np.arange(labels[-1] + 1)), axis=0, dtype=np.float64))
    compared: dict[Strategy, tuple[NDArray[np.float32], NDArray[np.int64]]] = {
        "nearest": (rest, theirs),
        "mean": (means, np.arange(len(means))),
        "blended": (unit(rest + means[theirs]), theirs),
    }
    return {name: _Asked.of(probes, owners, *one) for name, one in compared.items()}
