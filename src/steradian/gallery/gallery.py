"""Enroll identities by a few images, then identify probes or answer "unknown"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError, NotFoundError, StorageError, UsageError
from steradian.gallery.backend import Backend
from steradian.gallery.backends import open_backend
from steradian.gallery.decision import AUTO, MARGIN, STRATEGIES, VOTERS, Decision, decide, listed
from steradian.gallery.hints import Hint, odd_images
from steradian.gallery.own_images import OwnImages
from steradian.gallery.pictures import Pictures
from steradian.gallery.records import Identity, IdentityRef, check_unit
from steradian.gallery.register import Register
from steradian.gallery.search.faiss_index import Header, Kind
from steradian.gallery.search.gallery_search import GallerySearch
from steradian.gallery.search.pool import Pool, centers_of
from steradian.gallery.search.snapshot import Snapshot
from steradian.gallery.strangers import NEXT, StrangerThreshold, relative_limit
from steradian.gallery.strategy import Comparison
from steradian.models.calibration import STRANGERS, Threshold, Thresholds
from steradian.models.embedder import Embedder, open_model
from steradian.models.image_batch import pictures_of
from steradian.notebook import facts_html

if TYPE_CHECKING:
    from steradian.models.recognizer import Images

KNOWN = 0.95


@dataclass(frozen=True, repr=False)
class Enrolled:
    """The result of an enrollment.

    Attributes:
        images: number of images added.
        hints: warnings about odd images: unlike the identity's other images, or like another identity's.
        number: id of the identity.
        added: ids of the images.
    """

    name: str
    images: int
    hints: tuple[Hint, ...]
    number: int
    added: tuple[int, ...]

    def __repr__(self) -> str:
        hints = "".join(f"; {hint}" for hint in self.hints)
        return f"Enrolled({self.name!r}, {self.images} image{'s' * (self.images != 1)}{hints})"


class Gallery:
    """A file of enrolled identities and the model that embeds their images.

    Every answer reflects the current file, even if another process changed it; every change is on disk when the
    call returns. Safe to use from several threads and processes.

    Attributes:
        register: who is enrolled, by which images.
        model: None if the gallery is only read.
        pictures: the enrolled pictures kept beside the gallery.
    """

    def __init__(self, backend: Backend, model: Embedder | None = None) -> None:
        self.register = Register(backend)
        self.model = model
        self.pictures = Pictures(backend.beside)
        self._search = GallerySearch(backend)
        self._own = OwnImages(backend, self._search)

    @classmethod
    def open(cls, path: str | Path, model: Embedder | str | Path | None = None) -> Gallery:
        """Open the gallery file ``path``; with a model, create it if it does not exist.

        Args:
            path: a file, or ``milvus:HOST:PORT/NAME`` (see `MilvusBackend`).
            model: a recognizer, or a run or model folder.

        Raises:
            StorageError: the file is missing, damaged, not a gallery, or from a newer version or another model.
        """
        embedder = open_model(model) if isinstance(model, str | Path) else model
        expected = (None, None) if embedder is None else (embedder.model_id, embedder.embedding_size)
        return cls(open_backend(path, *expected), embedder)

    def close(self) -> None:
        """Close the file."""
        self.register.backend.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.register)

    @property
    def recognizer(self) -> Embedder:
        """The model. Raises `UsageError` if there is none."""
        if self.model is None:
            raise UsageError("This gallery was opened without a model, so it cannot embed images. Give the RUN.")
        return self.model

    def __repr__(self) -> str:
        return f"Gallery({str(self.register.backend.path)!r}, {len(self):,} enrolled)"

    def _repr_html_(self) -> str:
        identities = self.identities()
        rows = {one.name: f"{one.images} image{'s' * (one.images != 1)}" for one in identities[:20]}
        more = {"…": f"{len(identities) - 20:,} more"} if len(identities) > 20 else {}
        return facts_html(repr(self), {**rows, **more})

    def identities(self) -> list[Identity]:
        """List the enrolled identities by name."""
        return [identity for _, identity in self.register.identities()]

    def enroll(
        self,
        name: str,
        images: Images,
        *,
        sources: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Enrolled:
        """Add images of ``name``, new or already enrolled; odd images cause hints, not errors.

        Args:
            images: one image or many, as `Recognizer.embed` takes them.
            sources: the origin of each image, kept to embed it again; None: the paths.
            metadata: JSON values, merged into the existing ones.

        Raises:
            InputError: there is no image, or the name is not valid.
            DataError: an image cannot be decoded; nothing is enrolled.
        """
        # A batch of a tensor goes to the model as it is.
        given: Any = images if getattr(images, "ndim", 0) == 4 else pictures_of(images)
        vectors = self.recognizer.embed(given)
        if len(vectors) == 0:
            raise InputError(f"no image of {name!r} was given. Give at least one to enroll it.")
        if sources is None:
            sources = [str(Path(one).resolve()) if isinstance(one, str | Path) else "" for one in given]
        return self.enroll_vectors(name, vectors, sources, metadata)

    def enroll_vectors(
        self,
        name: str,
        vectors: NDArray[np.float32],
        sources: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
        *,
        called: Sequence[str] | None = None,
    ) -> Enrolled:
        """Enroll unit vectors [M, D] of this gallery's model, see `enroll`.

        ``called``: what hints call the images; None: by the file names of their sources.
        """
        number, numbers = self.register.add(name, vectors, sources, metadata)
        images = called or [Path(source).name or "an image" for source in sources]
        hints = self._hints((number, name), vectors, images)
        return Enrolled(name, len(vectors), hints, number, tuple(numbers))

    def _hints(
        self, identity: tuple[int, str], vectors: NDArray[np.float32], images: Sequence[str]
    ) -> tuple[Hint, ...]:
        try:
            threshold, everyone = self.thresholds.at().cosine, self._search.pool("nearest")
            return odd_images(
                everyone, self._search.pool("nearest", [identity[0]]), threshold, identity, vectors, images
            )
        except (InputError, StorageError):
            # The images are enrolled; missing hints are no error.
            return ()

    def remove(self, ref: IdentityRef) -> None:
        """Remove an identity, its images and their kept pictures. Raises `InputError` if it is not enrolled."""
        self.pictures.forget(self.register.remove(ref))

    def remove_images(self, images: Sequence[int]) -> None:
        """Remove images by their numbers, and their kept pictures.

        Raises:
            NotFoundError: an image does not exist.
            InputError: an identity would have no image left; nothing is removed.
        """
        self.pictures.forget(self.register.remove_images(images))

    def rename(self, ref: IdentityRef, new: str) -> None:
        """Rename the identity to ``new``. Raises `InputError` if the name is taken."""
        self.register.edit(ref, name=new)

    def merge(self, ref: IdentityRef, into: IdentityRef) -> None:
        """Merge the identity into ``into``: one identity with the images of both."""
        self.register.merge(ref, into)

    def identify(
        self,
        images: Images,
        *,
        top: int = 5,
        strangers: float | None = None,
        far: float | None = None,
        threshold: float | None = None,
        strategy: str = AUTO,
        labels: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Decision]:
        """Decide who is on each image: a match, "unknown" or "ambiguous".

        Args:
            images: as for `enroll`.
            top: number of identities that an answer lists.
            strangers: share of people who are not enrolled that may be given any name, in this gallery at its present
                size (FPIR); sets the threshold, see `stranger_threshold`. None: 0.01. Class centers have their own
                threshold, which a share `KNOWN` of the images of known classes reaches.
            far: a rate of pairs instead: of the gallery if `calibrate` was called, else of the model.
            threshold: a cosine instead of a rate.
            strategy: "nearest" image, "mean" of each identity's images, "blended": the nearest image, where each is
                mixed half and half with the mean of its identity, "vote" of the nearest images, or "centers": the
                model's training classes instead of enrolled identities. "auto": see `comparison`; "nearest" for a
                rate of pairs or a given threshold.
            labels: only identities with these names.
            where: only identities with these metadata.

        Raises:
            InputError: the rate has no threshold, nothing is known about strangers, or the strategy is unknown.
            DataError: an image cannot be decoded.
        """
        return self.identify_vectors(
            self.recognizer.embed(images),
            top=top,
            strangers=strangers,
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
        strangers: float | None = None,
        far: float | None = None,
        threshold: float | None = None,
        strategy: str = AUTO,
        labels: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Decision]:
        """Identify unit vectors [N, D], see `identify`."""
        if strategy not in STRATEGIES:
            raise InputError(f"unknown strategy {strategy!r}: choose one of {', '.join(STRATEGIES)}.")
        if top < 1:
            raise InputError(f"top must be at least 1, but is {top}.")
        if isinstance(labels, str):
            raise InputError(f"labels must be a list of names, not one name: use [{labels!r}].")
        if strategy == "centers" and (where or labels is not None):
            raise InputError("class centers have no metadata and are all compared: leave out `where` and `labels`.")
        if sum(one is not None for one in (strangers, far, threshold)) > 1:
            raise InputError("strangers, far and threshold each set the threshold: give one of them.")
        check_unit("to identify", vectors)
        identities = None
        if where or labels is not None:
            identities = self.register.matching(labels, where)
        strategy, relative, minimum = self._compared(strategy, strangers, far, threshold, identities is not None)
        # With votes no answer is ambiguous: the votes decide between similar identities.
        margin = MARGIN if strategy != "vote" else -math.inf
        # The check for ambiguity needs several matches even if `top` is 1.
        most = max(top, VOTERS, NEXT + 1 if relative else 0)
        results = self._pool(strategy, identities).nearest(vectors, most, strategy, self._probability)
        if not relative:
            return [listed(decide(matches, minimum, margin), top) for matches in results]
        limits = [relative_limit(minimum, [match.similarity for match in matches]) for matches in results]
        return [listed(decide(*one, margin), top) for one in zip(results, limits, strict=True)]

    def comparison(self) -> Comparison:
        """Return how queries are compared by default: what names more of the gallery's own images right.

        Each image is asked for the rest of the gallery, see `choose_comparison`. A gallery with an index, on a server,
        or of more than `own_images.MOST_MEANS` images compares the nearest images with a common threshold: means are
        computed anew after every change. The choice is made again when the gallery has changed by more than 2 %.
        """
        return self._own.comparison()

    def stranger_threshold(
        self, strangers: float = STRANGERS, strategy: str = AUTO, *, filtered: bool = False
    ) -> StrangerThreshold:
        """Return the threshold that at most a share ``strangers`` of strangers exceeds in the gallery as it is now.

        It follows the gallery: own images are asked again when it has changed by more than 2 %.

        Args:
            strategy: what a query is compared with, see `identify`.
            filtered: whether queries are compared with some of the identities only.

        Raises:
            InputError: nothing is known about strangers; see `strangers.stranger_threshold`.
        """
        return self._told(strangers, strategy, filtered)[1]

    def _told(self, strangers: float, strategy: str, filtered: bool) -> tuple[Comparison, StrangerThreshold]:
        scores = self.model.strangers if self.model is not None else ()
        pairs = self.model.thresholds if self.model is not None else Thresholds()
        return self._own.threshold(strangers, strategy, filtered, scores, pairs)

    def check_rates(self, strangers: float | None, far: float | None) -> None:
        """Raise `InputError` if queries with these rates, or with the default one, would have no threshold."""
        self._compared(AUTO, strangers, far, None, False)

    def _compared(
        self, strategy: str, strangers: float | None, far: float | None, threshold: float | None, filtered: bool
    ) -> tuple[str, bool, float]:
        """Return what queries are compared with, whether their thresholds are relative, and the threshold."""
        if threshold is not None or (far is not None and strategy != "centers"):
            cosine = threshold if threshold is not None else self.thresholds.at(far).cosine
            return "nearest" if strategy == AUTO else strategy, False, cosine
        if strategy == "centers":
            calibration = self.model.calibration if self.model is not None else None
            if calibration is None:
                raise InputError("this model has no calibrated threshold for class centers: give a threshold.")
            return strategy, False, calibration.known_cosine(KNOWN)
        compared, told = self._told(STRANGERS if strangers is None else strangers, strategy, filtered)
        return compared.strategy if strategy == AUTO else strategy, compared.relative, told.cosine

    def nearest_image(self, identity: int, vector: NDArray[np.float32]) -> tuple[int, float]:
        """Return the image of ``identity`` that is most similar to a unit ``vector`` [D], and the cosine.

        Raises:
            NotFoundError: there is no such identity, or it has no image.
        """
        self.register.identity(identity)
        found = self._search.pool("nearest", [identity]).nearest(vector[None], 1, "nearest", self._probability)[0]
        if not found or found[0].image is None:
            raise NotFoundError(f"identity {identity} of {self.register.backend.path} has no image.")
        return found[0].image, found[0].similarity

    def _pool(self, strategy: str, identities: Sequence[int] | None) -> Pool:
        if strategy == "centers":
            return centers_of(self.recognizer.class_centers(), self.recognizer.classes)
        return self._search.pool(strategy, identities)

    def index(self, kind: Kind = "hnsw") -> Header:
        """Build or rebuild an approximate index beside the file; galleries opened from now on use it.

        Raises:
            UsageError: FAISS is not installed, or nobody is enrolled.
        """
        return self._search.build_index(kind)

    def drop_index(self) -> None:
        """Delete the index, so that search is exact from now on."""
        self._search.drop_index()

    def _probability(self, similarity: float) -> float | None:
        calibration = self.model.calibration if self.model is not None else None
        return calibration.pairs(similarity) if calibration is not None and calibration.pairs is not None else None

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that queries use: those of this gallery if it was calibrated, else those of the model.

        Rates that are lower than a small gallery can tell keep the model's threshold, which is raised to that of the
        gallery's lowest rate where it is below.
        """
        own, model = self.own_thresholds(), self.model.thresholds if self.model is not None else Thresholds()
        if not own:
            return model
        last = min(own, key=lambda one: one.far)
        beyond = tuple(
            one.model_copy(update={"cosine": max(one.cosine, last.cosine), "high": max(one.high, last.cosine)})
            for one in model
            if one.far < last.far
        )
        return Thresholds((*own, *beyond), "this gallery")

    def own_thresholds(self) -> tuple[Threshold, ...]:
        """Return the thresholds of `calibrate`; empty if it was not called."""
        backend = self.register.backend
        try:
            entries = json.loads(backend.setting("thresholds"))
            return tuple(Threshold.model_validate(entry) for entry in entries)
        except (ValueError, TypeError) as error:
            raise StorageError(f"{backend.path} is damaged: its thresholds cannot be read ({error}).") from error

    def set_thresholds(self, thresholds: Sequence[Threshold]) -> None:
        """Store thresholds in the file; if empty, the model's apply again."""
        with self.register.backend.change():
            content = json.dumps([threshold.model_dump() for threshold in thresholds])
            self.register.backend.set_setting("thresholds", content)

    def snapshot(self) -> Snapshot:
        """Return a snapshot of all vectors."""
        return self._search.snapshot()
