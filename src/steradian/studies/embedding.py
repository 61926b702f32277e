"""Embed a data set into parquet shards, which any number of processes write atomically."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steradian.data.cores import available_cores
from steradian.data.images import ImageSet
from steradian.data.loading.damage import Skipped
from steradian.data.model_input import square
from steradian.data.pixels import Progress
from steradian.errors import DataError, UsageError
from steradian.extras import install
from steradian.files import atomic_file, new_folder, read_json, sha256_of, write_json
from steradian.gallery.exchange import SHARDS as IDENTITY
from steradian.models.recognizer import Recognizer
from steradian.studies.study_folder import check_study_folder

SHARD, AT_ONCE = 8192, 256


@dataclass(frozen=True)
class EmbeddedShards:
    """Result of embedding a data set.

    Attributes:
        shards: total number of shards; ``made``: number written by this call.
        skipped: undecodable images in the shards written by this call.
    """

    shards: int
    made: int
    skipped: tuple[Skipped, ...]


def embed_data(
    model: Recognizer,
    images: ImageSet,
    out: Path,
    *,
    part: int = 0,
    parts: int = 1,
    exist_ok: bool = False,
    progress: Progress,
) -> EmbeddedShards:
    """Write ``out/part-00000.parquet`` etc. with columns id, label, split and vector (float32 [D], unit norm).

    Args:
        part, parts: this process writes every ``parts``-th shard, starting at ``part``.

    Raises:
        UsageError: pyarrow is not installed; ``out`` holds vectors of another model or of other images.
    """
    try:
        import pyarrow  # noqa: F401 - fail now, not after an hour
    except ImportError as error:
        raise UsageError(f"Writing embeddings needs pyarrow: {install('data')}") from error
    splits = images.splits if images.splits is not None else [""] * len(images)
    names = "\n".join(
        f"{images.items.name(index)}\t{images.classes[images.labels[index]]}\t{splits[index]}"
        for index in range(len(images))
    )
    identity = {
        "format": "steradian.embedding",
        "version": 1,
        "model": model.model_id,
        "dimensions": model.spec.embedding_size,
        "source": images.source,
        "images": len(images),
        "names": sha256_of(names.encode()),
        "content": images.items.fingerprint(),
        "shard": SHARD,
    }
    if (out / IDENTITY).is_file() and "content" not in read_json(out / IDENTITY):
        # It was begun by an earlier version, which did not notice pictures that changed.
        del identity["content"]
    check_study_folder(out, IDENTITY, identity, "set of embeddings", exist_ok=exist_ok)
    new_folder(out, exist_ok=True)
    # All processes of a group write the same content, and each write is atomic.
    write_json(out / IDENTITY, identity)
    count = -(-len(images) // SHARD)
    todo = [shard for shard in range(part, count, parts) if not _path(out, shard).is_file()]
    model.accelerate_for(min(len(todo) * SHARD, len(images)))
    skipped: list[Skipped] = []
    steps = [(shard, start) for shard in todo for start in _starts(shard, len(images))]
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for step in progress(range(len(steps)), len(steps), "embedding"):
            shard, start = steps[step]
            rows += _rows(model, images, range(start, min(start + AT_ONCE, _end(shard, len(images)))), skipped, pool)
            if step + 1 == len(steps) or steps[step + 1][0] != shard:
                _write(_path(out, shard), rows, model.spec.embedding_size)
                rows = []
    return EmbeddedShards(count, len(todo), tuple(skipped))


def _path(out: Path, shard: int) -> Path:
    return out / f"part-{shard:05d}.parquet"


def _end(shard: int, count: int) -> int:
    return min((shard + 1) * SHARD, count)


def _starts(shard: int, count: int) -> range:
    return range(shard * SHARD, _end(shard, count), AT_ONCE)


def _rows(
    model: Recognizer, images: ImageSet, chosen: range, skipped: list[Skipped], pool: ThreadPoolExecutor
) -> list[dict[str, Any]]:
    shape = model.spec.preprocessing

    def decoded(index: int) -> np.ndarray[Any, np.dtype[np.uint8]] | Skipped:
        try:
            pixels = images.pixels(index, shape.shortest)
        except DataError as error:
            return Skipped(images.items.name(index), str(error))
        return square(pixels, shape.size, shape.channels, shape.crop, shape.interpolation)

    indices, batch = [], []
    for index, pixels in zip(chosen, pool.map(decoded, chosen), strict=True):
        if isinstance(pixels, Skipped):
            skipped.append(pixels)
        else:
            indices.append(index)
            batch.append(pixels)
    if not indices:
        return []
    vectors = model.embed(torch.from_numpy(np.stack(batch)))
    splits = images.splits
    return [
        {
            "id": _id(images.items.name(index)),
            "label": images.classes[images.labels[index]],
            "split": None if splits is None else str(splits[index]),
            "vector": vector,
        }
        for index, vector in zip(indices, vectors, strict=True)
    ]


def _id(name: str) -> str:
    """Return the absolute path of a file, so that it resolves from any folder, or the name of an archive member."""
    path = Path(name)
    return str(path.resolve()) if path.is_file() else name


def _write(path: Path, rows: list[dict[str, Any]], dimensions: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    flat = np.concatenate([row["vector"] for row in rows]) if rows else np.zeros(0, np.float32)
    table = pa.table(
        {
            "id": pa.array([row["id"] for row in rows], pa.string()),
            "label": pa.array([row["label"] for row in rows], pa.string()),
            "split": pa.array([row["split"] for row in rows], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dimensions),
        }
    )
    with atomic_file(path) as temporary:
        parquet.write_table(table, temporary)
