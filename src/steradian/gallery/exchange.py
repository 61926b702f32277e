"""Export and import a gallery as one file, and embed it again by another model."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.arrays import npy_header
from steradian.data.image_files import AT_ONCE
from steradian.data.images import DAMAGED_ZIP
from steradian.data.pixels import Progress
from steradian.errors import DataError, InputError, StorageError, UsageError
from steradian.extras import install
from steradian.files import atomic_file, explained, read_json
from steradian.gallery.backend import Backend
from steradian.gallery.backends import open_backend
from steradian.gallery.backends.sqlite import SqliteBackend
from steradian.gallery.backends.sqlite_file import MOST_DIMENSIONS
from steradian.gallery.gallery import Gallery
from steradian.gallery.pictures import Pictures
from steradian.gallery.records import LONGEST_METADATA, UNIT_SLACK, checked_name, elsewhere
from steradian.gallery.register import Register
from steradian.gallery.search.exact import unit
from steradian.models.calibration import Threshold
from steradian.models.embedder import Embedder
from steradian.models.image_batch import decode_file

CARD, VECTORS = "gallery.json", "vectors.npy"
SHARDS = "embedding.json"
LARGEST_CARD = 2**30
FORMAT = "steradian.gallery"
EXACT = 1e-5
"""Difference of the length of a vector from one, up to which single precision explains it."""


def export(gallery: Gallery, path: Path) -> int:
    """Write the gallery to ``path``, a zip of ``gallery.json`` and ``vectors.npy`` [N, D]; return the image count."""
    register, backend = gallery.register, gallery.register.backend
    with backend.reading():
        rows, identities = backend.rows(), dict(register.identities())
        sources, model = backend.sources(), backend.model
    card = {
        "format": FORMAT,
        "version": 1,
        "model": model,
        "thresholds": [one.model_dump() for one in gallery.own_thresholds()],
        "identities": {identity.name: identity.metadata for identity in identities.values()},
        "images": [
            {"name": identities[owner].name, "source": sources[number][1]}
            for number, owner in zip(rows.ids.tolist(), rows.identities.tolist(), strict=True)
        ],
    }
    buffer = io.BytesIO()
    np.save(buffer, rows.vectors)
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(CARD, json.dumps(card, ensure_ascii=False))
        archive.writestr(VECTORS, buffer.getvalue())
    return len(rows.ids)


def import_file(gallery: Path, path: Path, *, trust_paths: bool = False) -> int:
    """Enroll an exported file in ``gallery``, created if missing; return the number of images added.

    All images are added in one transaction. Images that their name already has are skipped; thresholds are imported
    only if nobody was enrolled and none were set.

    Args:
        path: a file of `export`, or a folder of ``steradian embed``, whose labels are the names.
        trust_paths: the paths of images in it are of this machine and may be opened, to show the pictures and to embed
            them again. Otherwise a stranger's file could name any image of this machine.

    Raises:
        StorageError: the file is missing, damaged, or of another model.
    """
    if not path.exists():
        raise StorageError(f"{path} does not exist: give a file of gallery export, or a folder of steradian embed.")
    card, vectors = _read_shards(path) if path.is_dir() else _read(path)
    # Those of half precision are nearly of length one, and their products would go beyond it.
    apart = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    nearly = (apart > EXACT) & (apart <= UNIT_SLACK)
    vectors[nearly] = unit(vectors[nearly])
    if not trust_paths:
        card["images"] = [{**image, "source": elsewhere(image["source"])} for image in card["images"]]
    expected = () if gallery.is_file() else (card["model"], vectors.shape[1])
    backend = open_backend(gallery, *expected)
    try:
        return _import(Register(backend), path, card, vectors)
    finally:
        backend.close()


def _import(register: Register, path: Path, card: dict[str, Any], vectors: NDArray[np.float32]) -> int:
    backend = register.backend
    expected = backend.model
    if card["model"] != expected:
        raise StorageError(
            f"{path} holds vectors of another model ({card['model'][:12]}…, not {expected[:12]}…). Use another gallery."
        )
    if card.get("thresholds") and backend.setting("thresholds") == "[]" and not backend.names():
        with backend.change():
            backend.set_setting("thresholds", json.dumps(card["thresholds"]))
    names = [checked_name(image["name"]) for image in card["images"]]
    metadata = {checked_name(name): data for name, data in card["identities"].items()}
    existing, new_rows = _known(backend, set(names)), dict[str, list[int]]()
    for row, name in enumerate(names):
        rows = new_rows.setdefault(name, [])
        if (name, vectors[row].tobytes()) not in existing:
            rows.append(row)
    register.add_many(
        [
            (name, vectors[rows], [card["images"][row]["source"] for row in rows], metadata.get(name))
            for name, rows in new_rows.items()
            if rows or metadata.get(name)
        ]
    )
    return sum(map(len, new_rows.values()))


def _known(backend: Backend, names: set[str]) -> set[tuple[str, bytes]]:
    """Return the (name, vector bytes) already enrolled under ``names``."""
    names_by_id = {number: name for number, name in backend.names().items() if name in names}
    if not names_by_id:
        return set()
    rows = backend.rows()
    pairs = zip(rows.identities.tolist(), rows.vectors, strict=True)
    return {(names_by_id[number], vector.tobytes()) for number, vector in pairs if number in names_by_id}


def _read_shards(folder: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError(f"Shards of vectors need pyarrow: {install('data')}") from error
    if not (folder / SHARDS).is_file():
        raise StorageError(f"{folder} holds no {SHARDS}: expected a folder of steradian embed, or an exported file.")
    manifest = read_json(folder / SHARDS)
    try:
        size = int(manifest["dimensions"])
        tables = [parquet.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
        flat = [table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False) for table in tables]
        vectors = np.concatenate([np.zeros(0, np.float32), *flat]).astype(np.float32).reshape(-1, size)
        labels = [name for table in tables for name in table.column("label").to_pylist()]
        sources = [name for table in tables for name in table.column("id").to_pylist()]
        expected = -(-int(manifest["images"]) // int(manifest["shard"]))
        sizes = {table.schema.field("vector").type.list_size for table in tables}
        if len(tables) != expected or not sizes <= {size} or not 1 <= size <= MOST_DIMENSIONS:
            raise ValueError(f"{len(tables)} of {expected} shards with vectors of {sorted(sizes)} dimensions")
        if not all(isinstance(name, str) for name in (*labels, *sources)) or len(labels) != len(vectors):
            raise ValueError("a row has no label, no id or no vector")
        card = {"model": str(manifest["model"]), "identities": {}}
    except (ArrowException, KeyError, ValueError, TypeError, OSError, AttributeError) as error:
        raise StorageError(f"{folder} holds no vectors of steradian embed, or is damaged ({error}).") from error
    images = [{"name": name, "source": source} for name, source in zip(labels, sources, strict=True)]
    return {**card, "images": images}, vectors


def _read(path: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    damaged = f"{path} is not an exported gallery, or is damaged"
    with explained("read", path):
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(CARD).file_size > LARGEST_CARD:
                    raise StorageError(f"{damaged}: its {CARD} is larger than {LARGEST_CARD:,} bytes.")
                card = json.loads(archive.read(CARD))
                images, people = card["images"], card["identities"]
                if card["format"] != FORMAT or card["version"] != 1 or not isinstance(card["model"], str):
                    raise StorageError(f"{damaged}, or was written by a newer steradian.")
                with archive.open(VECTORS) as file:
                    vectors = _vectors(file, len(images))
                thresholds = [Threshold.model_validate(one) for one in card.get("thresholds", [])]
                card["thresholds"] = [one.model_dump() for one in thresholds]
        except (*DAMAGED_ZIP, TypeError, AttributeError, RecursionError, MemoryError) as error:
            raise StorageError(f"{damaged} ({error}).") from error
    named = all(isinstance(image, dict) and {"name", "source"} <= image.keys() for image in images)
    plain = all(isinstance(image[key], str) for image in images for key in ("name", "source")) if named else False
    small = isinstance(people, dict) and all(
        isinstance(one, dict) and len(json.dumps(one, ensure_ascii=False)) <= LONGEST_METADATA
        for one in people.values()
    )
    if not (plain and small) or not np.isfinite(vectors).all():
        raise StorageError(f"{damaged}: its list and its vectors do not match.")
    return card, vectors


def _vectors(file: IO[bytes], count: int) -> NDArray[np.float32]:
    """Read float32 [``count``, D] after a check of the header. Raises `ValueError` for anything else."""
    shape, transposed, dtype = npy_header(file)
    if len(shape) != 2 or shape[0] != count or not 1 <= shape[1] <= MOST_DIMENSIONS or dtype != np.float32:
        raise ValueError(f"vectors of {count} images cannot be {dtype} {list(shape)}")
    if transposed:
        raise ValueError("vectors are stored in Fortran order")
    content = file.read(4 * shape[0] * shape[1])
    return np.frombuffer(content, np.float32).reshape(shape).copy()


def rebuild(path: Path, model: Embedder, progress: Progress, *, drop_lost: bool = False) -> tuple[int, list[str]]:
    """Embed all images of the gallery ``path`` again by ``model``, from their sources, in one transaction.

    Args:
        drop_lost: remove images whose files are gone.

    Returns:
        The number of images now, and the removed ones.

    Raises:
        InputError: an image cannot be embedded without ``drop_lost``, or no image can.
        StorageError: images were enrolled meanwhile.
    """
    backend = SqliteBackend(path)
    sources, pictures = backend.sources(), Pictures(path)
    vectors: dict[int, NDArray[np.float32]] = {}
    lost: list[str] = []
    numbers = list(sources)
    starts = range(0, len(numbers), AT_ONCE)
    for start in progress(starts, len(starts), "embedding"):
        squares = {}
        for number in numbers[start : start + AT_ONCE]:
            name, source = sources[number]
            try:
                if not source:
                    raise DataError("it did not come from a file")
                pixels = decode_file(pictures.find(source), model.preprocessing)
                squares[number] = model.preprocessing.prominent_square(pixels)
            except (DataError, StorageError, OSError) as error:
                lost.append(f"{name}: {source or 'an image'}: {error}")
        if squares:
            vectors.update(zip(squares, model.embed_squares(np.stack(list(squares.values()))), strict=True))
    if lost and (not drop_lost or not vectors):
        listed = "\n".join(f"  {line}" for line in lost[:10])
        raise InputError(
            f"{len(lost)} of the {len(numbers)} images of {path} cannot be embedded again, and nothing was changed:\n"
            f"{listed}\nPut their files back, or remove these images: --drop-lost."
        )
    backend.replace_vectors(model.model_id, vectors, model.embedding_size, numbers)
    backend.close()
    return len(vectors), lost
