"""Approximate search beside the record: FAISS proposes candidates, their cosines are computed exactly.

The index is a file ``GALLERY.index`` that is made from the record and may be lost: it is replaced whole, images that
came after it was made are added when it is used, and what is gone from the record is never answered. Image numbers are
never given twice, so it stays right while names change; a gallery whose vectors were made anew has another token, and
one that was put back from a copy is told by samples of its vectors.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steradian.errors import StorageError, UsageError
from steradian.files import atomic_file, explained
from steradian.gallery.memory import Held
from steradian.gallery.pool import FindRows, exact
from steradian.gallery.search import Floats

Kind = Literal["hnsw", "ivf", "sq8"]

LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 80, 160
PROBES = 64
FEW = 1000
CANDIDATES = 4
"""Candidates for each row that is asked for: what the index misjudges is put right among them."""

READING = threading.Lock()
"""The limit of what a file may claim is FAISS's own, for all threads."""

SAMPLES = 64
LONGEST_HEADER = 16_384


class Header(BaseModel):
    """The first line of an index file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["steradian.index"] = "steradian.index"
    version: Literal[1] = 1
    kind: Kind
    token: str = Field(description="of the record that it was made from")
    samples: dict[int, str] = Field(description="images and the beginnings of their vectors' hashes")
    dimensions: int = Field(ge=1)
    images: int = Field(ge=0)
    last: int = Field(ge=0, description="number of the last image that is in it")
    bytes: int = Field(ge=0)
    sha256: str


class Index:
    """An index in memory.

    Attributes:
        header: as it was read.
    """

    def __init__(self, header: Header, found: Any) -> None:
        self.header = header
        self._found, self._last, self._lock = found, header.last, threading.Lock()

    def catch_up(self, held: Held) -> None:
        """Add what was enrolled since."""
        with self._lock:
            start = int(np.searchsorted(held.ids, self._last, side="right"))
            if start < len(held.ids):
                self._found.add_with_ids(held.vectors[start:], held.ids[start:])
                self._last = int(held.ids[-1])

    def search(self, held: Held) -> FindRows:
        """Search for rows of ``held``: candidates of the index, ranked by their exact cosines."""

        def find(queries: Floats, k: int) -> list[tuple[Floats, NDArray[np.int64]]]:
            wide, goal = CANDIDATES * k, min(k, len(held.ids))
            answers: list[Any] = [None] * len(queries)
            left = np.arange(len(queries))
            while len(left):
                if wide >= len(held.ids):
                    whole = exact(held.vectors)(queries[left], k)
                    return [whole.pop(0) if answer is None else answer for answer in answers]
                short = []
                for query, numbers in zip(left.tolist(), self._candidates(queries[left], wide), strict=True):
                    scores, rows = _ranked_exactly(held, queries[query], numbers)
                    if len(rows) < goal:
                        # Those that are gone took their places: ask for more.
                        short.append(query)
                    else:
                        answers[query] = scores[:k], rows[:k]
                left, wide = np.array(short, dtype=np.int64), 4 * wide
            return answers

        return find

    def _candidates(self, queries: Floats, count: int) -> NDArray[np.int64]:
        import faiss

        with self._lock:
            inner = faiss.downcast_index(self._found.index)
            if hasattr(inner, "hnsw"):
                inner.hnsw.efSearch = max(SEARCH_WIDTH, count)
            _, numbers = self._found.search(np.ascontiguousarray(queries), count)
        found: NDArray[np.int64] = numbers
        return found


def _ranked_exactly(held: Held, query: Floats, numbers: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Of the images ``numbers`` those that are still there: falling cosines and their rows."""
    rows = np.searchsorted(held.ids, numbers)
    there = (rows < len(held.ids)) & (held.ids[np.minimum(rows, len(held.ids) - 1)] == numbers)
    rows = np.unique(rows[there])
    scores = held.vectors[rows] @ query
    order = np.lexsort((rows, -scores))
    return scores[order], rows[order]


def _made(kind: Kind, vectors: Floats) -> Any:
    import faiss

    size = vectors.shape[1]
    made: Any
    if kind == "ivf":
        lists = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 39))
        made = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, lists, faiss.METRIC_INNER_PRODUCT)
        made.nprobe = min(PROBES, lists)
        made.train(vectors)
        return faiss.IndexIDMap2(made)
    byte: Any = faiss.ScalarQuantizer.QT_8bit
    if kind == "hnsw":
        # A walk through the graph waits for memory: with a byte a number it takes two thirds of the time.
        made = faiss.IndexHNSWSQ(size, byte, LINKS, faiss.METRIC_INNER_PRODUCT)
        made.hnsw.efConstruction = BUILD_WIDTH
    else:
        made = faiss.IndexScalarQuantizer(size, byte, faiss.METRIC_INNER_PRODUCT)
    made.train(_ranges(vectors))
    return faiss.IndexIDMap2(made)


def _ranges(vectors: Floats) -> Floats:
    """The least and the greatest [2, D] of each number of ``vectors``; few of them do not say what others may hold."""
    if len(vectors) < FEW:
        return np.stack([np.full(vectors.shape[1], bound, dtype=np.float32) for bound in (-1.0, 1.0)])
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)])


def index_file(gallery: Path) -> Path:
    """Where the index of a gallery lies."""
    return gallery.with_name(f"{gallery.name}.index")


def build(held: Held, token: str, path: Path, kind: Kind) -> Header:
    """Make an index of everything that is ``held`` and replace the file ``path`` by it.

    Args:
        token: of the record.

    Raises:
        UsageError: FAISS is not installed; nobody is enrolled.
    """
    try:
        import faiss
    except ImportError as error:
        raise UsageError("An index needs FAISS: pip install 'steradian[ann]'.") from error
    if not len(held.ids):
        raise UsageError("Nobody is enrolled yet, so there is nothing to index.")
    vectors = np.ascontiguousarray(held.vectors)
    found = _made(kind, vectors)
    found.add_with_ids(vectors, held.ids)
    content = faiss.serialize_index(found).tobytes()
    header = Header(
        kind=kind,
        token=token,
        samples=_samples(held, held.ids[np.unique(np.linspace(0, len(held.ids) - 1, SAMPLES).astype(int))]),
        dimensions=vectors.shape[1],
        images=len(held.ids),
        last=int(held.ids[-1]),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(header.model_dump_json().encode() + b"\n")
        file.write(content)
    return header


def _samples(held: Held, numbers: NDArray[np.int64]) -> dict[int, str]:
    """Of those of the images ``numbers`` that are there."""
    rows = np.flatnonzero(np.isin(held.ids, numbers))
    return {int(held.ids[row]): hashlib.sha256(held.vectors[row].tobytes()).hexdigest()[:16] for row in rows}


def read(path: Path, token: str, held: Held) -> Index | None:
    """The index at ``path``; None, with a warning, where it cannot be used: then search is exact.

    It is a copy of what the record holds and is never taken from elsewhere: ``gallery export`` leaves it out.
    """
    if not path.is_file():
        return None
    try:
        return _read(path, token, held)
    except (StorageError, UsageError) as error:
        gallery = path.with_suffix("")
        warnings.warn(f"{error} Search is exact until: steradian gallery index {gallery}.", stacklevel=2)
        return None


def _read(path: Path, token: str, held: Held) -> Index:
    try:
        import faiss
    except ImportError as error:
        raise UsageError(f"{path} needs FAISS: pip install 'steradian[ann]'.") from error
    with explained("read", path), path.open("rb") as file:
        line = file.readline(LONGEST_HEADER)
        try:
            header = Header.model_validate(json.loads(line))
        except (ValueError, ValidationError, RecursionError) as error:
            raise StorageError(f"{path} is no index of this version, or is damaged.") from error
        found = _samples(held, np.array(list(header.samples), dtype=np.int64))
        same = found and all(header.samples[number] == one for number, one in found.items())
        if header.token != token or header.dimensions != held.vectors.shape[1] or not same:
            raise StorageError(f"{path} was made from other vectors than the gallery holds.")
        if path.stat().st_size != len(line) + header.bytes:
            raise StorageError(f"{path} is damaged: it holds more or less than it says.")
        content = file.read(header.bytes)
    if hashlib.sha256(content).hexdigest() != header.sha256:
        raise StorageError(f"{path} is damaged.")
    # A stranger's file may claim vectors of any length: no more room is made than its bytes can fill.
    with READING:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(max(1, len(content)))
        try:
            return Index(header, faiss.deserialize_index(np.frombuffer(content, np.uint8)))
        except (RuntimeError, MemoryError) as error:
            raise StorageError(f"{path} was made by another version of FAISS, or is damaged.") from error
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
