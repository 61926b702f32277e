"""A gallery: enroll by a few images, ask who it is, hear "unknown"."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError, StorageError, UsageError
from steradian.gallery.decision import MARGIN, STRATEGIES, VOTERS, Decision, decide, listed
from steradian.gallery.index import Header, Kind
from steradian.gallery.memory import Held
from steradian.gallery.milvus import MilvusStore, store_at
from steradian.gallery.pictures import Pictures
from steradian.gallery.pool import Pool, centers_of
from steradian.gallery.searching import LocalSearch, MilvusSearch, Searching
from steradian.gallery.store import Identity, Store, Who
from steradian.models.calibration import Threshold, usual_far
from steradian.models.embedder import Embedder, open_model

if TYPE_CHECKING:
    from steradian.models.recognizer import Images

KNOWN = 0.95


@dataclass(frozen=True)
class Enrolled:
    """What an enrollment did.

    Attributes:
        images: how many were added.
        hints: what is odd about them: an image unlike the others of its name, or like somebody else's.
        number: of the identity.
    """

    name: str
    images: int
    hints: tuple[str, ...]
    number: int


class Gallery:
    """Enrolled identities in a file, and the model that their images are embedded by.

    Everything that it says is of the file as it is now, whoever changed it; every change is on the disk when the call
    returns. Safe to use from several threads and processes.

    Attributes:
        store: the record.
        model: None for a gallery that is only looked at.
        pictures: enrolled pictures that were kept beside it.
    """

    def __init__(self, store: Store | MilvusStore, model: Embedder | None) -> None:
        self.store = store
        self.model = model
        self.pictures = Pictures(store.beside)
        self._searching: Searching = LocalSearch(store) if isinstance(store, Store) else MilvusSearch(store)

    @classmethod
    def open(cls, path: str | Path, model: Embedder | str | Path | None = None) -> Gallery:
        """Open the gallery file ``path``; with a model it is made where there is none.

        Args:
            path: a file, or ``milvus:HOST:PORT/NAME`` (see `MilvusStore`).
            model: a recognizer, or a run or model folder.

        Raises:
            StorageError: no gallery, damaged, of a newer version or of another model.
        """
        found = open_model(model) if isinstance(model, str | Path) else model
        known = (None, None) if found is None else (found.saved_id, found.embedding_size)
        return cls(store_at(path, *known), found)

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.store)

    @property
    def recognizer(self) -> Embedder:
        """The model. Raises `UsageError` without one."""
        if self.model is None:
            raise UsageError("This gallery was opened without a model, so no image can be embedded: name the RUN.")
        return self.model

    def identities(self) -> list[Identity]:
        """Everybody who is enrolled, by name."""
        return [identity for _, identity in self.store.identities()]

    def enroll(
        self,
        name: str,
        images: Images,
        *,
        sources: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Enrolled:
        """Add images of ``name``, new or enrolled already; what is odd about them is told, not refused.

        Args:
            images: paths, PIL images or decoded arrays; with a `Recognizer` also tensors, as its `embed` takes them.
            sources: where each came from, kept to embed them anew; none: the paths.
            metadata: JSON values, joined to those that are there.

        Raises:
            InputError: no image; a name that cannot be shown.
            DataError: an image that cannot be decoded; then nothing is enrolled.
        """
        vectors = np.asarray(self.recognizer.embed(images))
        if len(vectors) == 0:
            raise InputError(f"no image of {name!r} came, so nothing can be enrolled.")
        if sources is None:
            sources = [str(Path(one).resolve()) if isinstance(one, str | Path) else "" for one in images]
        return self.enroll_vectors(name, vectors, sources, metadata)

    def enroll_vectors(
        self,
        name: str,
        vectors: NDArray[np.float32],
        sources: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
    ) -> Enrolled:
        """`enroll` for unit vectors [M, D] of this gallery's model."""
        number = self.store.add(name, vectors, sources, metadata)
        return Enrolled(name, len(vectors), tuple(self._hints(number, name, vectors, sources)), number)

    def _hints(self, number: int, name: str, vectors: NDArray[np.float32], sources: Sequence[str]) -> list[str]:
        try:
            threshold, everybody = self.threshold().cosine, self._searching.pool("nearest")
            own = self._searching.pool("nearest", [number])
            # Among so many of all one must be somebody else's.
            inside, around = own.search(vectors, 2), everybody.search(vectors, own.count + 1)
        except (InputError, StorageError):
            # The images are enrolled; that nothing can be told of them is no error.
            return []
        found = []
        for source, mine, all_ in zip(sources, inside, around, strict=True):
            image = Path(source).name or "an image"
            # The nearest of its own is the image itself.
            if len(mine.scores) > 1 and mine.scores[1] <= threshold:
                found.append(f"{image} is unlike the other images of {name!r} (cosine {mine.scores[1]:.2f}).")
            others = np.flatnonzero(all_.owners != number)
            if len(others) and all_.scores[others[0]] > threshold:
                other = everybody.names[int(all_.owners[others[0]])]
                cosine = all_.scores[others[0]]
                found.append(f"{image} is like {other!r} (cosine {cosine:.2f}), who is enrolled, too.")
        return found

    def remove(self, who: Who) -> None:
        """Forget somebody, all images and their kept pictures. Raises `InputError` where nobody is called so."""
        self.pictures.forget(self.store.remove(who))

    def rename(self, who: Who, new: str) -> None:
        """``who`` is called ``new``. Raises `InputError` for a name that is taken."""
        self.store.rename(who, new)

    def merge(self, who: Who, into: Who) -> None:
        """``who`` was ``into`` all along: one identity with the images of both."""
        self.store.merge(who, into)

    def identify(
        self,
        images: Images,
        *,
        top: int = 5,
        far: float | None = None,
        threshold: float | None = None,
        strategy: str = "nearest",
        labels: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Decision]:
        """Who is on each image, or "unknown", or "ambiguous".

        Args:
            images: as `enroll` takes them.
            top: how many identities an answer lists.
            far: false-accept rate whose threshold is taken: of the gallery where `calibrate` was called (then a share
                of questions about strangers), else of the model (a share of pairs). Class centers have one of their
                own, which `KNOWN` of the images of known classes reach. None: 0.001, or the lowest that there is.
            threshold: cosine, instead of ``far``.
            strategy: "nearest" image, "mean" of each identity's images, "vote" of the nearest
                images, or "centers": the classes that the model was trained on, whoever is enrolled.
            labels: only identities with these names.
            where: only identities with these metadata.

        Raises:
            InputError: no threshold for ``far``; an unknown strategy.
            DataError: an image that cannot be decoded.
        """
        return self.identify_vectors(
            np.asarray(self.recognizer.embed(images)),
            top=top,
            far=far,
            threshold=threshold,
            strategy=strategy,
            labels=labels,
            where=where,
        )

    def identify_vectors(
        self,
        vectors: NDArray[np.float32],
        *,
        top: int = 5,
        far: float | None = None,
        threshold: float | None = None,
        strategy: str = "nearest",
        labels: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Decision]:
        """`identify` for unit vectors [N, D]."""
        if strategy not in STRATEGIES:
            raise InputError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}.")
        if top < 1:
            raise InputError(f"top must be at least 1, but is {top}.")
        if not np.isfinite(vectors).all():
            raise InputError("a vector is not finite, so it cannot be compared. Was the image embedded rightly?")
        if isinstance(labels, str):
            raise InputError(f"labels are a list of names, not one: use [{labels!r}].")
        if strategy == "centers" and (where or labels is not None):
            raise InputError("class centers have no metadata and are all asked: leave `where` and `labels` out.")
        limit = threshold if threshold is not None else self._limit(far, strategy)
        wanted = None
        if where or labels is not None:
            only = {unicodedata.normalize("NFC", label).strip() for label in labels or ()}
            wanted = [
                number
                for number, identity in self.store.identities()
                if _fits(identity.metadata, where or {}) and (labels is None or identity.name in only)
            ]
        # Votes already weigh two that are alike.
        margin = MARGIN if strategy != "vote" else -math.inf
        # Whether others are as much alike does not depend on how many are listed.
        found = self._pool(strategy, wanted).nearest(vectors, max(top, VOTERS), strategy, self._probability)
        return [listed(decide(matches, limit, margin), top) for matches in found]

    def _limit(self, far: float | None, strategy: str) -> float:
        if strategy != "centers":
            return self.threshold(far).cosine
        calibration = self.model.calibration if self.model is not None else None
        if calibration is None:
            raise InputError("this model does not know how near its classes are to their centers: give a threshold.")
        return calibration.known_cosine(KNOWN)

    def _pool(self, strategy: str, wanted: Sequence[int] | None) -> Pool:
        if strategy == "centers":
            return centers_of(*_centers(self.recognizer))
        return self._searching.pool(strategy, wanted)

    def index(self, kind: Kind = "hnsw") -> Header:
        """Make an approximate index beside the record, or make it anew; galleries that are opened from now on use it.

        Raises:
            UsageError: FAISS is not installed; nobody is enrolled.
        """
        return self._searching.build_index(kind)

    def drop_index(self) -> None:
        """Search exactly from now on."""
        self._searching.drop_index()

    def _probability(self, similarity: float) -> float | None:
        calibration = self.model.calibration if self.model is not None else None
        return calibration.pairs(similarity) if calibration is not None and calibration.pairs is not None else None

    def threshold(self, far: float | None = None) -> Threshold:
        """The threshold for a false-accept rate: of this gallery where it was calibrated, else of the model.

        Args:
            far: None: 0.001, or the lowest that there is a threshold for.

        Raises:
            InputError: there is none for ``far``.
        """
        known = self.known_thresholds()
        far = usual_far(known) if far is None else far
        found = next((one for one in known if math.isclose(one.far, far)), None)
        if found is None:
            has = ", ".join(f"{one.far:g}" for one in known) or "none"
            whose = "this gallery" if self.thresholds() else "this model"
            raise InputError(
                f"{whose} has no threshold for a false-accept rate of {far:g}; it has {has}. Choose one of those, give "
                "a threshold, or enroll more and calibrate the gallery."
            )
        return found

    def known_thresholds(self) -> tuple[Threshold, ...]:
        """Those that questions take: of this gallery where it was calibrated, else of the model."""
        return self.thresholds() or tuple(self.model.thresholds if self.model is not None else ())

    def thresholds(self) -> tuple[Threshold, ...]:
        """Those of `calibrate`, or none."""
        try:
            found = json.loads(self.store.fact("thresholds"))
            return tuple(Threshold.model_validate(one) for one in found)
        except (ValueError, TypeError) as error:
            raise StorageError(f"{self.store.path} is damaged: its thresholds cannot be read ({error}).") from error

    def set_thresholds(self, thresholds: Sequence[Threshold]) -> None:
        """Keep them in the file; none: those of the model count again."""
        self.store.set_facts(thresholds=json.dumps([one.model_dump() for one in thresholds]))

    def memory(self) -> Held:
        """All vectors as they are now."""
        return self._searching.held()


def _centers(model: Embedder) -> tuple[Any, tuple[str, ...]]:
    from steradian.models.heads import class_centers
    from steradian.models.recognizer import Recognizer

    if not isinstance(model, Recognizer):
        raise InputError("an exported model holds no class centers: name the run that it was exported from.")
    return class_centers(model.head).float().cpu().numpy(), model.classes


def _fits(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    return all(metadata.get(key) == value for key, value in where.items())
