"""What a question is compared with: images, mean directions or class centers, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.decision import VOTERS, Match, ranked
from steradian.gallery.memory import Held
from steradian.gallery.search import Floats, top, unit

Integers = NDArray[np.int64]


class Nearest(NamedTuple):
    """What is nearest to one query: falling scores [K], whose it is [K], and numbers of images [K] or None."""

    scores: Floats
    owners: Integers
    images: Integers | None


Search = Callable[[Floats, int], "list[Nearest]"]
"""(queries [Q, D], k) -> the k nearest of each, or all where there are fewer."""

FindRows = Callable[[Floats, int], "list[tuple[Floats, Integers]]"]
"""The same as falling scores and rows of an array."""


@dataclass(frozen=True)
class Pool:
    """Unit vectors that are compared with.

    Attributes:
        count: how many.
        owners: of how many owners they are.
        names: of the owners.
        search: finds the nearest.
        enrolled: whether owners are numbers of identities.
    """

    count: int
    owners: int
    names: Mapping[int, str]
    search: Search
    enrolled: bool = True

    def nearest(
        self, queries: Floats, wanted: int, strategy: str, probability: Callable[[float], float | None]
    ) -> list[list[Match]]:
        """The ``wanted`` best owners for each of ``queries``."""
        answers = []
        for found in self._with_distinct(queries, wanted):
            matches = []
            for place in ranked(found.scores, found.owners, strategy)[:wanted]:
                similarity, owner = float(found.scores[place]), int(found.owners[place])
                image = int(found.images[place]) if found.images is not None else None
                identity = owner if self.enrolled else None
                matches.append(Match(self.names[owner], similarity, probability(similarity), identity, image))
            answers.append(matches)
        return answers

    def _with_distinct(self, queries: Floats, wanted: int) -> list[Nearest]:
        """Of each query so many that ``wanted`` owners are among them, as far as there are so many."""
        found = [Nearest(np.zeros(0, np.float32), np.zeros(0, np.int64), None) for _ in queries]
        if not self.count:
            return found
        k, left, goal = max(4 * wanted, VOTERS), np.arange(len(queries)), min(wanted, self.owners)
        while len(left):
            short = []
            for query, answer in zip(left.tolist(), self.search(queries[left], k), strict=True):
                found[query] = answer
                if k < self.count and len(np.unique(answer.owners)) < goal:
                    short.append(query)
            left, k = np.array(short, dtype=np.int64), 4 * k
        return found


def exact(vectors: Floats, allowed: NDArray[np.bool_] | None = None) -> FindRows:
    """Search by looking at every one of ``vectors`` [N, D], or of those that are ``allowed`` [N]."""

    def find(queries: Floats, k: int) -> list[tuple[Floats, Integers]]:
        return list(zip(*top(vectors, queries, k, allowed), strict=True))

    return find


def images_of(held: Held, find: FindRows | None = None, wanted: Sequence[int] | None = None) -> Pool:
    """Every enrolled image, or those of the identities ``wanted``; ``find``: another search than the exact one."""
    if wanted is None:
        count, owners, find = len(held.ids), held.present, find or exact(held.vectors)
    else:
        allowed = np.isin(held.identities, wanted)
        count, owners = int(allowed.sum()), len(np.unique(held.identities[allowed]))
        find = exact(held.vectors, allowed)
    return Pool(count, owners, held.names, _of_rows(find, held.identities, held.ids))


def means_of(held: Held, wanted: Sequence[int] | None = None) -> Pool:
    """The mean direction of each identity, or of those that are ``wanted``."""
    vectors, numbers = held.means
    allowed = None if wanted is None else np.isin(numbers, wanted)
    count = len(numbers) if allowed is None else int(allowed.sum())
    return Pool(count, count, held.names, _of_rows(exact(vectors, allowed), numbers, None))


def centers_of(centers: Floats, classes: Sequence[str]) -> Pool:
    """The centers [C, D] of the classes that a model was trained on."""
    search = _of_rows(exact(unit(centers)), np.arange(len(classes)), None)
    return Pool(len(classes), len(classes), dict(enumerate(classes)), search, enrolled=False)


def _of_rows(find: FindRows, owners: Integers, images: Integers | None) -> Search:
    def search(queries: Floats, k: int) -> list[Nearest]:
        return [
            Nearest(scores, owners[rows], images[rows] if images is not None else None)
            for scores, rows in find(queries, k)
        ]

    return search
