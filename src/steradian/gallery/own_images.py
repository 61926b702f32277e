"""What a gallery's own images tell: how queries are compared by default, and which scores strangers reach."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from steradian.gallery.backend import Backend
from steradian.gallery.decision import AUTO
from steradian.gallery.search.gallery_search import GallerySearch
from steradian.gallery.strangers import OwnStrangers, StrangerThreshold, own_tell, stranger_threshold
from steradian.gallery.strategy import Comparison, choose_comparison, compared_with
from steradian.models.calibration import StrangerScores, Thresholds

CHANGED = 0.02
"""Share of the images or identities by which a gallery may change before its own images are asked again."""

MOST_MEANS = 20_000
"""Most images of a gallery whose means are compared by default."""


@dataclass(frozen=True)
class _Size:
    images: int
    identities: int

    def is_near(self, other: _Size) -> bool:
        changes = (self.images - other.images, self.images), (self.identities - other.identities, self.identities)
        return all(abs(change) <= CHANGED * now for change, now in changes)


class OwnImages:
    """Asks the images of a gallery, and asks again when it has changed by more than 2 %. Safe to use from threads."""

    def __init__(self, backend: Backend, search: GallerySearch) -> None:
        self._backend, self._search = backend, search
        self._lock = threading.Lock()
        self._chosen: dict[bool, tuple[_Size, Comparison]] = {}
        self._asked: dict[Comparison, tuple[_Size, OwnStrangers]] = {}

    def comparison(self) -> Comparison:
        """Return how queries are compared by default, see `Gallery.comparison`."""
        with self._lock:
            return self._comparison(self._size(), None)

    def threshold(
        self, rate: float, strategy: str, filtered: bool, measured: Sequence[StrangerScores], pairs: Thresholds
    ) -> tuple[Comparison, StrangerThreshold]:
        """Return how queries are compared at a rate of strangers, and the threshold for it.

        Where the gallery's own images cannot tell the rate, nothing is compared that only they know about.

        Args:
            strategy: of `Gallery.identify`.
            filtered: whether only some of the identities are compared: the next ones are others then than those that
                a relative threshold was set by.
            measured, pairs: what the model knows, see `stranger_threshold`.
        """
        with self._lock:
            size = self._size()
            compared = self._comparison(size, rate) if strategy == AUTO else compared_with(strategy)
            if filtered:
                compared = replace(compared, relative=False)
            before = self._asked.get(compared)
            if before is None or not before[0].is_near(size):
                snapshot = self._search.snapshot()
                asked = OwnStrangers.of(snapshot, size.images, compared.strategy, relative=compared.relative)
                before = self._asked[compared] = (size, asked)
        return compared, stranger_threshold(rate, before[1], measured, pairs)

    def _comparison(self, size: _Size, rate: float | None) -> Comparison:
        if self._backend.state() is None or self._search.has_index() or size.images > MOST_MEANS:
            return Comparison("nearest")
        best = self._choose(size, plain=False)
        known_alone = best.relative or best.strategy == "blended"
        if rate is not None and known_alone and not own_tell(rate, size.images, size.identities):
            return self._choose(size, plain=True)
        return best

    def _choose(self, size: _Size, plain: bool) -> Comparison:
        before = self._chosen.get(plain)
        if before is None or not before[0].is_near(size):
            before = self._chosen[plain] = (size, choose_comparison(self._search.snapshot(), plain=plain))
        return before[1]

    def _size(self) -> _Size:
        if self._backend.state() is None:
            # A remote backend sends all vectors for a snapshot; the number of its identities tells of changes.
            identities = len(self._backend)
            return _Size(identities, identities)
        snapshot = self._search.snapshot()
        return _Size(len(snapshot.ids), snapshot.present)
