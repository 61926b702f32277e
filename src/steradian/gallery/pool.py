"""What a question is compared with: images, mean directions or class centers, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steradian.gallery.decision import VOTERS, Match, ranked
from steradian.gallery.memory import Held
from steradian.gallery.search import Floats, top

Found = list[tuple[Floats, NDArray[np.int64]]]
"""Of each query: falling scores [K] and the rows [K] that have them."""


@dataclass(frozen=True)
class Pool:
    """Unit vectors that are compared with.

    Attributes:
        vectors: float32 [N, D].
        owners: int64 [N], whose each is.
        names: of the owners.
        images: int64 [N], numbers of the images; None where a vector is of no single image.
        enrolled: whether owners are numbers of identities.
        search: (queries [Q, D], k) -> their nearest rows; None: exact, over all vectors.
    """

    vectors: Floats
    owners: NDArray[np.int64]
    names: Mapping[int, str]
    images: NDArray[np.int64] | None = None
    enrolled: bool = True
    search: Callable[[Floats, int], Found] | None = None

    def nearest(
        self,
        queries: Floats,
        wanted: int,
        strategy: str,
        probability: Callable[[float], float | None],
        allowed: NDArray[np.bool_] | None = None,
    ) -> list[list[Match]]:
        """The ``wanted`` best owners for each of ``queries``, of ``allowed`` rows [N] alone where that is given."""
        answers = []
        for scores, rows in self._with_distinct(queries, wanted, allowed):
            matches = []
            for place in ranked(scores, self.owners[rows], strategy)[:wanted]:
                similarity, owner = float(scores[place]), int(self.owners[rows[place]])
                image = int(self.images[rows[place]]) if self.images is not None else None
                identity = owner if self.enrolled else None
                matches.append(Match(self.names[owner], similarity, probability(similarity), identity, image))
            answers.append(matches)
        return answers

    def _with_distinct(self, queries: Floats, wanted: int, allowed: NDArray[np.bool_] | None) -> Found:
        """Of each query so many nearest rows that ``wanted`` owners are among them, as far as there are so many."""
        found: Found = [(np.zeros(0, np.float32), np.zeros(0, np.int64)) for _ in queries]
        if not len(self.vectors) or (allowed is not None and not allowed.any()):
            return found
        k, left = max(4 * wanted, VOTERS), np.arange(len(queries))
        goal = min(wanted, len(np.unique(self.owners if allowed is None else self.owners[allowed])))
        while len(left):
            whole = k >= len(self.vectors)
            if self.search is None or allowed is not None or whole:
                scores, rows = top(self.vectors, queries[left], k, allowed)
                answers = list(zip(scores, rows, strict=True))
            else:
                answers = self.search(queries[left], k)
            short = []
            for query, answer in zip(left.tolist(), answers, strict=True):
                found[query] = answer
                if not whole and len(np.unique(self.owners[answer[1]])) < goal:
                    short.append(query)
            left, k = np.array(short, dtype=np.int64), 4 * k
        return found


def images_of(held: Held, search: Callable[[Floats, int], Found] | None = None) -> Pool:
    """Every enrolled image."""
    return Pool(held.vectors, held.identities, held.names, held.ids, search=search)


def means_of(held: Held) -> Pool:
    """The mean direction of each identity."""
    return Pool(*held.means, held.names)


def centers_of(centers: Floats, classes: Sequence[str]) -> Pool:
    """The centers [C, D] of the classes that a model was trained on."""
    lengths = np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
    return Pool(centers / lengths, np.arange(len(classes)), dict(enumerate(classes)), enrolled=False)
