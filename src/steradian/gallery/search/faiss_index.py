"""Search approximately: FAISS proposes candidates, and their cosines are computed exactly.

The index is a file ``GALLERY.index`` that is built from the record and can always be rebuilt. It is replaced as a
whole; images enrolled later are added when it is used, and images removed from the record are never returned. Image
ids are never reused, so the index stays right when names change. A gallery whose vectors were replaced has another
token, and one that was restored from a copy is recognized by samples of its vectors.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steradian.errors import StorageError, UsageError
from steradian.extras import install
from steradian.files import atomic_file, explained
from steradian.gallery.search.exact import Floats
from steradian.gallery.search.pool import FindRows, exact
from steradian.gallery.search.snapshot import Snapshot

Kind = Literal["hnsw", "sq8"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RETIRED = ("ivf",)
"""Kinds of earlier versions, which found too few of the nearest images."""

LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 80, 160
FEW = 1000
CANDIDATES = 4
"""Candidates for each requested row: exact cosines correct the index's errors among them."""

READING = threading.Lock()
"""FAISS has one limit on the size of read vectors for all threads, so one thread at a time may set it."""

SAMPLES = 64
LONGEST_HEADER = 16_384


class Header(BaseModel):
    """The first line of an index file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["steradian.index"] = "steradian.index"
    version: Literal[1] = 1
    kind: Kind
    token: str = Field(description="token of the record that it was built from")
    samples: dict[int, str] = Field(description="image id -> beginning of the hash of its vector")
    dimensions: int = Field(ge=1)
    images: int = Field(ge=0)
    last: int = Field(ge=0, description="id of the last image in the index")
    bytes: int = Field(ge=0)
    sha256: str


class Index:
    """An index in memory, and its header as read from the file."""

    def __init__(self, header: Header, faiss_index: Any) -> None:
        self.header = header
        self._faiss_index, self._last, self._lock = faiss_index, header.last, threading.Lock()

    def catch_up(self, snapshot: Snapshot) -> None:
        """Add the images enrolled since the index was built."""
        with self._lock:
            start = int(np.searchsorted(snapshot.ids, self._last, side="right"))
            if start < len(snapshot.ids):
                self._faiss_index.add_with_ids(snapshot.vectors[start:], snapshot.ids[start:])
                self._last = int(snapshot.ids[-1])

    def search(self, snapshot: Snapshot) -> FindRows:
        """Return a search over ``snapshot``: candidates of the index, ranked by their exact cosines."""

        def find(queries: Floats, k: int) -> list[tuple[Floats, NDArray[np.int64]]]:
            width, goal = CANDIDATES * k, min(k, len(snapshot.ids))
            answers: list[Any] = [None] * len(queries)
            pending = np.arange(len(queries))
            while len(pending):
                if width >= len(snapshot.ids):
                    exact_results = exact(snapshot.vectors)(queries[pending], k)
                    return [exact_results.pop(0) if answer is None else answer for answer in answers]
                unfinished = []
                for query, numbers in zip(pending.tolist(), self._candidates(queries[pending], width), strict=True):
                    scores, rows = _ranked_exactly(snapshot, queries[query], numbers)
                    if len(rows) < goal:
                        # Removed images were among the candidates: request more.
                        unfinished.append(query)
                    else:
                        answers[query] = scores[:k], rows[:k]
                pending, width = np.array(unfinished, dtype=np.int64), 4 * width
            return answers

        return find

    def _candidates(self, queries: Floats, count: int) -> NDArray[np.int64]:
        import faiss

        with self._lock:
            inner = faiss.downcast_index(self._faiss_index.index)
            if hasattr(inner, "hnsw"):
                inner.hnsw.efSearch = max(SEARCH_WIDTH, count)
            _, numbers = self._faiss_index.search(np.ascontiguousarray(queries), count)
        ids: NDArray[np.int64] = numbers
        return ids


def _ranked_exactly(snapshot: Snapshot, query: Floats, numbers: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the descending cosines and the rows of the images ``numbers`` that are still enrolled."""
    rows = np.searchsorted(snapshot.ids, numbers)
    present = (rows < len(snapshot.ids)) & (snapshot.ids[np.minimum(rows, len(snapshot.ids) - 1)] == numbers)
    rows = np.unique(rows[present])
    scores = snapshot.vectors[rows] @ query
    order = np.lexsort((rows, -scores))
    return scores[order], rows[order]


def _new_faiss_index(kind: Kind, vectors: Floats) -> Any:
    import faiss

    size = vectors.shape[1]
    index: Any
    byte: Any = faiss.ScalarQuantizer.QT_8bit
    if kind == "hnsw":
        # Graph search is bound by memory: with one byte per number it takes two thirds of the time.
        index = faiss.IndexHNSWSQ(size, byte, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_WIDTH
    else:
        index = faiss.IndexScalarQuantizer(size, byte, faiss.METRIC_INNER_PRODUCT)
    index.train(_ranges(vectors))
    return faiss.IndexIDMap2(index)


def _ranges(vectors: Floats) -> Floats:
    """Return the minimum and maximum [2, D] of each dimension; -1 and 1 if ``vectors`` are too few to tell."""
    if len(vectors) < FEW:
        return np.stack([np.full(vectors.shape[1], bound, dtype=np.float32) for bound in (-1.0, 1.0)])
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)])


def index_file(gallery: Path) -> Path:
    """Return the path of a gallery's index."""
    return gallery.with_name(f"{gallery.name}.index")


def build(snapshot: Snapshot, token: str, path: Path, kind: Kind) -> Header:
    """Build an index of ``snapshot``, whose gallery has the ``token``, and replace the file ``path`` by it."""
    try:
        import faiss
    except ImportError as error:
        raise UsageError(f"An index needs FAISS: {install('ann')}") from error
    if not len(snapshot.ids):
        raise UsageError("Nobody is enrolled yet, so there is nothing to index.")
    vectors = np.ascontiguousarray(snapshot.vectors)
    index = _new_faiss_index(kind, vectors)
    index.add_with_ids(vectors, snapshot.ids)
    content = faiss.serialize_index(index).tobytes()
    header = Header(
        kind=kind,
        token=token,
        samples=_samples(snapshot, snapshot.ids[np.unique(np.linspace(0, len(snapshot.ids) - 1, SAMPLES).astype(int))]),
        dimensions=vectors.shape[1],
        images=len(snapshot.ids),
        last=int(snapshot.ids[-1]),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(header.model_dump_json().encode() + b"\n")
        file.write(content)
    return header


def _samples(snapshot: Snapshot, numbers: NDArray[np.int64]) -> dict[int, str]:
    """Hash the vectors of the images ``numbers`` that are enrolled."""
    rows = np.flatnonzero(np.isin(snapshot.ids, numbers))
    return {int(snapshot.ids[row]): hashlib.sha256(snapshot.vectors[row].tobytes()).hexdigest()[:16] for row in rows}


def read(path: Path, token: str, snapshot: Snapshot) -> Index | None:
    """Return the index at ``path``; if it cannot be used, warn and return None: then search is exact.

    The index is built from the gallery and never imported: ``gallery export`` leaves it out.
    """
    if not path.is_file():
        return None
    try:
        return _read(path, token, snapshot)
    except (StorageError, UsageError) as error:
        gallery = path.with_suffix("")
        warnings.warn(f"{error} Search is exact until you run: steradian gallery index {gallery}.", stacklevel=2)
        return None


def _read(path: Path, token: str, snapshot: Snapshot) -> Index:
    try:
        import faiss
    except ImportError as error:
        raise UsageError(f"{path} needs FAISS: {install('ann')}") from error
    with explained("read", path), path.open("rb") as file:
        line = file.readline(LONGEST_HEADER)
        try:
            content = json.loads(line)
            if isinstance(content, dict) and content.get("kind") in RETIRED:
                raise StorageError(
                    f"{path} is an index of the kind {content['kind']!r}, which was dropped: it missed a third of the "
                    "nearest images of new pictures."
                )
            header = Header.model_validate(content)
        except (ValueError, ValidationError, RecursionError) as error:
            raise StorageError(f"{path} is not an index of this version, or is damaged.") from error
        samples = _samples(snapshot, np.array(list(header.samples), dtype=np.int64))
        same = samples and all(header.samples[number] == one for number, one in samples.items())
        if header.token != token or header.dimensions != snapshot.vectors.shape[1] or not same:
            raise StorageError(f"{path} was built from other vectors than the gallery holds.")
        if path.stat().st_size != len(line) + header.bytes:
            raise StorageError(f"{path} is damaged: its size differs from its header.")
        data = file.read(header.bytes)
    if hashlib.sha256(data).hexdigest() != header.sha256:
        raise StorageError(f"{path} is damaged.")
    # A foreign file may claim vectors of any length: allocate no more memory than its bytes can fill.
    with READING:
        previous_limit = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(max(1, len(data)))
        try:
            return Index(header, faiss.deserialize_index(np.frombuffer(data, np.uint8)))
        except (RuntimeError, MemoryError) as error:
            raise StorageError(f"{path} was built by another version of FAISS, or is damaged.") from error
        finally:
            faiss.set_deserialization_vector_byte_limit(previous_limit)
