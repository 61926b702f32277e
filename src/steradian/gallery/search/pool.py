"""Pools of vectors that a query is compared with: images, mean directions or class centers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.decision import VOTERS, Match, ranked
from steradian.gallery.records import Nearest, Search
from steradian.gallery.search.exact import Floats, top, unit
from steradian.gallery.search.snapshot import Snapshot

Integers = NDArray[np.int64]


FindRows = Callable[[Floats, int], "list[tuple[Floats, Integers]]"]
"""Like `Search`, but returns descending scores and rows of an array."""


@dataclass(frozen=True)
class Pool:
    """The unit vectors that queries are compared with.

    Attributes:
        count: number of vectors.
        owners: number of distinct owners.
        names: owner -> name.
        search: finds the nearest vectors.
        enrolled: whether owners are ids of identities.
    """

    count: int
    owners: int
    names: Mapping[int, str]
    search: Search
    enrolled: bool = True

    def nearest(
        self, queries: Floats, limit: int, strategy: str, probability: Callable[[float], float | None]
    ) -> list[list[Match]]:
        """Return the ``limit`` best owners for each of ``queries``."""
        answers = []
        for result in self._with_distinct(queries, limit):
            matches = []
            for index in ranked(result.scores, result.owners, strategy)[:limit]:
                similarity, owner = float(result.scores[index]), int(result.owners[index])
                image = int(result.images[index]) if result.images is not None else None
                identity = owner if self.enrolled else None
                matches.append(Match(self.names[owner], similarity, probability(similarity), identity, image))
            answers.append(matches)
        return answers

    def _with_distinct(self, queries: Floats, limit: int) -> list[Nearest]:
        """Search for each query until ``limit`` distinct owners, or all of them, are found."""
        results = [Nearest(np.zeros(0, np.float32), np.zeros(0, np.int64), None) for _ in queries]
        if not self.count:
            return results
        k, pending, goal = max(4 * limit, VOTERS), np.arange(len(queries)), min(limit, self.owners)
        while len(pending):
            unfinished = []
            for query, answer in zip(pending.tolist(), self.search(queries[pending], k), strict=True):
                results[query] = answer
                if k < self.count and len(np.unique(answer.owners)) < goal:
                    unfinished.append(query)
            pending, k = np.array(unfinished, dtype=np.int64), 4 * k
        return results


def exact(vectors: Floats, allowed: NDArray[np.bool_] | None = None) -> FindRows:
    """Return an exact search over ``vectors`` [N, D], or over those that are ``allowed`` [N]."""

    def find(queries: Floats, k: int) -> list[tuple[Floats, Integers]]:
        return list(zip(*top(vectors, queries, k, allowed), strict=True))

    return find


def images_of(
    snapshot: Snapshot,
    find: FindRows | None = None,
    identities: Sequence[int] | None = None,
    strategy: str = "nearest",
) -> Pool:
    """Make a pool of all images, or of those of ``identities``; ``find`` replaces the exact search.

    ``strategy`` "blended": each image is mixed with the mean of its identity.
    """
    vectors, _ = snapshot.compared(strategy)
    if identities is None:
        count, owners, find = len(snapshot.ids), snapshot.present, find or exact(vectors)
    else:
        allowed = np.isin(snapshot.identities, identities)
        count, owners = int(allowed.sum()), len(np.unique(snapshot.identities[allowed]))
        find = exact(vectors, allowed)
    return Pool(count, owners, snapshot.names, _as_search(find, snapshot.identities, snapshot.ids))


def means_of(snapshot: Snapshot, identities: Sequence[int] | None = None) -> Pool:
    """Make a pool of the mean direction of each identity, or of each of ``identities``."""
    vectors, numbers = snapshot.means
    allowed = None if identities is None else np.isin(numbers, identities)
    count = len(numbers) if allowed is None else int(allowed.sum())
    return Pool(count, count, snapshot.names, _as_search(exact(vectors, allowed), numbers, snapshot.typical))


def centers_of(centers: Floats, classes: Sequence[str]) -> Pool:
    """Make a pool of the centers [C, D] of a model's training classes."""
    search = _as_search(exact(unit(centers)), np.arange(len(classes)), None)
    return Pool(len(classes), len(classes), dict(enumerate(classes)), search, enrolled=False)


def _as_search(find: FindRows, owners: Integers, images: Integers | None) -> Search:
    def search(queries: Floats, k: int) -> list[Nearest]:
        return [
            Nearest(scores, owners[rows], images[rows] if images is not None else None)
            for scores, rows in find(queries, k)
        ]

    return search
