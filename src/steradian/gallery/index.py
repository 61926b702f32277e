"""Approximate search beside the record: FAISS proposes candidates, their cosines are computed exactly.

The index is a file ``GALLERY.index`` that is made from the record and may be lost: it is replaced whole, images that
came after it was made are added when it is used, and what is gone from the record is never answered. Image numbers are
never given twice, so an index stays right while names change.
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

LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 80, 256
PROBES = 64
CANDIDATES = 4
"""Candidates for each row that is asked for: what the index misjudges is put right among them."""

LONGEST_HEADER = 4096


class Header(BaseModel):
    """The first line of an index file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["steradian.index"] = "steradian.index"
    version: Literal[1] = 1
    kind: Kind
    model: str
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
            if CANDIDATES * k >= len(held.ids):
                return exact(held.vectors)(queries, k)
            with self._lock:
                if hasattr(self._inner, "hnsw"):
                    self._inner.hnsw.efSearch = max(SEARCH_WIDTH, CANDIDATES * k)
                _, numbers = self._found.search(np.ascontiguousarray(queries), CANDIDATES * k)
            return [_ranked_exactly(held, query, found, k) for query, found in zip(queries, numbers, strict=True)]

        return find

    @property
    def _inner(self) -> Any:
        import faiss

        return faiss.downcast_index(self._found.index)


def _ranked_exactly(held: Held, query: Floats, numbers: NDArray[np.int64], k: int) -> tuple[Floats, NDArray[np.int64]]:
    rows = np.searchsorted(held.ids, numbers)
    rows = np.unique(rows[(rows < len(held.ids)) & (held.ids[np.minimum(rows, len(held.ids) - 1)] == numbers)])
    scores = held.vectors[rows] @ query
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def _made(kind: Kind, vectors: Floats) -> Any:
    import faiss

    size = vectors.shape[1]
    made: Any
    if kind == "hnsw":
        made = faiss.IndexHNSWFlat(size, LINKS, faiss.METRIC_INNER_PRODUCT)
        made.hnsw.efConstruction = BUILD_WIDTH
    elif kind == "ivf":
        lists = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 39))
        made = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, lists, faiss.METRIC_INNER_PRODUCT)
        made.nprobe = min(PROBES, lists)
    else:
        made = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    if not made.is_trained:
        made.train(vectors)
    return faiss.IndexIDMap2(made)


def index_file(gallery: Path) -> Path:
    """Where the index of a gallery lies."""
    return gallery.with_name(f"{gallery.name}.index")


def build(held: Held, model: str, path: Path, kind: Kind) -> Header:
    """Make an index of everything that is ``held`` and replace the file ``path`` by it.

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
        model=model,
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


def read(path: Path, model: str, dimensions: int) -> Index | None:
    """The index at ``path``; None, with a warning, where it cannot be used: then search is exact.

    It is a copy of what the record holds and is never taken from elsewhere: ``gallery export`` leaves it out.
    """
    if not path.is_file():
        return None
    try:
        return _read(path, model, dimensions)
    except (StorageError, UsageError) as error:
        warnings.warn(f"{error} Search is exact until: steradian gallery index {path.stem}.", stacklevel=2)
        return None


def _read(path: Path, model: str, dimensions: int) -> Index:
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
        if (header.model, header.dimensions) != (model, dimensions):
            raise StorageError(f"{path} was made for another model.")
        if path.stat().st_size != len(line) + header.bytes:
            raise StorageError(f"{path} is damaged: it holds more or less than it says.")
        content = file.read(header.bytes)
    if hashlib.sha256(content).hexdigest() != header.sha256:
        raise StorageError(f"{path} is damaged.")
    return Index(header, faiss.deserialize_index(np.frombuffer(content, np.uint8)))
