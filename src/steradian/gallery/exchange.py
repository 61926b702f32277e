"""A gallery in one file for somebody else, and embedded anew by another model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.image_files import AT_ONCE
from steradian.data.images import DAMAGED_ZIP
from steradian.data.pixels import Progress
from steradian.errors import DataError, InputError, StorageError, UsageError
from steradian.files import atomic_file, explained, read_json
from steradian.gallery.gallery import Gallery
from steradian.gallery.milvus import MilvusStore, store_at
from steradian.gallery.pictures import Pictures
from steradian.gallery.record import MOST_DIMENSIONS
from steradian.gallery.store import LONGEST_METADATA, Store, checked_name
from steradian.models.calibration import Threshold
from steradian.models.embedder import Embedder
from steradian.models.squares import decode_file

CARD, VECTORS = "gallery.json", "vectors.npy"
SHARDS = "embedding.json"
LARGEST_CARD = 2**30
FORMAT = "steradian.gallery"


def export(gallery: Gallery, path: Path) -> int:
    """Write everybody to ``path``, a zip of ``gallery.json`` and ``vectors.npy`` [N, D]; the number of images."""
    with gallery.store.reading():
        rows, people = gallery.store.rows(), dict(gallery.store.identities())
        sources, model = gallery.store.sources(), gallery.store.fact("model")
    card = {
        "format": FORMAT,
        "version": 1,
        "model": model,
        "thresholds": [one.model_dump() for one in gallery.thresholds()],
        "identities": {identity.name: identity.metadata for identity in people.values()},
        "images": [{"name": people[int(who)].name, "source": sources[int(number)][1]} for number, who in _pairs(rows)],
    }
    buffer = io.BytesIO()
    np.save(buffer, rows.vectors)
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(CARD, json.dumps(card, ensure_ascii=False))
        archive.writestr(VECTORS, buffer.getvalue())
    return len(rows.ids)


def _pairs(rows: Any) -> Iterable[tuple[int, int]]:
    return zip(rows.ids.tolist(), rows.identities.tolist(), strict=True)


def import_file(gallery: Path, path: Path) -> int:
    """Enroll everybody of an exported file in ``gallery``, made where there is none; the number of images that came.

    All images in one transaction. Those that their name has already are passed over; thresholds come where nobody was
    enrolled and none were set.

    Args:
        path: of `export`, or a folder of ``steradian embed``, whose labels are the names.

    Raises:
        StorageError: no such file, damaged, or of another model.
    """
    if not path.exists():
        raise StorageError(f"There is no {path}: name a file of gallery export, or a folder of steradian embed.")
    card, vectors = _read_shards(path) if path.is_dir() else _read(path)
    store = store_at(gallery) if gallery.is_file() else store_at(gallery, card["model"], vectors.shape[1])
    try:
        return _import(store, path, card, vectors)
    finally:
        store.close()


def _import(store: Store | MilvusStore, path: Path, card: dict[str, Any], vectors: NDArray[np.float32]) -> int:
    held = store.fact("model")
    if card["model"] != held:
        raise StorageError(
            f"{path} holds vectors of another model ({card['model'][:12]}…, not {held[:12]}…): they cannot be compared."
        )
    if card.get("thresholds") and store.fact("thresholds") == "[]" and not store.names():
        store.set_facts(thresholds=json.dumps(card["thresholds"]))
    names = [checked_name(image["name"]) for image in card["images"]]
    metadata = {checked_name(name): one for name, one in card["identities"].items()}
    known, places = _known(store, set(names)), dict[str, list[int]]()
    for place, name in enumerate(names):
        own = places.setdefault(name, [])
        if (name, vectors[place].tobytes()) not in known:
            own.append(place)
    store.add_many(
        [
            (name, vectors[own], [card["images"][place]["source"] for place in own], metadata.get(name))
            for name, own in places.items()
            if own or metadata.get(name)
        ]
    )
    return sum(map(len, places.values()))


def _known(store: Store | MilvusStore, names: set[str]) -> set[tuple[str, bytes]]:
    """Who of ``names`` has which vectors."""
    whose = {number: name for number, name in store.names().items() if name in names}
    if not whose:
        return set()
    rows = store.rows()
    pairs = zip(rows.identities.tolist(), rows.vectors, strict=True)
    return {(whose[number], vector.tobytes()) for number, vector in pairs if number in whose}


def _read_shards(folder: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError("Shards of vectors need pyarrow: pip install 'steradian[data]'.") from error
    if not (folder / SHARDS).is_file():
        raise StorageError(f"{folder} holds no {SHARDS}: expected a folder of steradian embed, or an exported file.")
    told = read_json(folder / SHARDS)
    try:
        size = int(told["dimensions"])
        tables = [parquet.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
        flat = [table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False) for table in tables]
        vectors = np.concatenate([np.zeros(0, np.float32), *flat]).astype(np.float32).reshape(-1, size)
        labels = [name for table in tables for name in table.column("label").to_pylist()]
        sources = [name for table in tables for name in table.column("id").to_pylist()]
        expected = -(-int(told["images"]) // int(told["shard"]))
        sizes = {table.schema.field("vector").type.list_size for table in tables}
        if len(tables) != expected or not sizes <= {size} or not 1 <= size <= MOST_DIMENSIONS:
            raise ValueError(f"{len(tables)} of {expected} shards with vectors of {sorted(sizes)} dimensions")
        if not all(isinstance(name, str) for name in (*labels, *sources)) or len(labels) != len(vectors):
            raise ValueError("a row has no label, no id or no vector")
        card = {"model": str(told["model"]), "identities": {}}
    except (ArrowException, KeyError, ValueError, TypeError, OSError, AttributeError) as error:
        raise StorageError(f"{folder} holds no vectors of steradian embed, or is damaged ({error}).") from error
    images = [{"name": name, "source": source} for name, source in zip(labels, sources, strict=True)]
    return {**card, "images": images}, vectors


def _read(path: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    damaged = f"{path} is no exported gallery, or is damaged"
    with explained("read", path):
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(CARD).file_size > LARGEST_CARD:
                    raise StorageError(f"{damaged}: its list takes over {LARGEST_CARD:,} bytes.")
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
        raise StorageError(f"{damaged}: its list and its vectors do not fit.")
    return card, vectors


def _vectors(file: IO[bytes], count: int) -> NDArray[np.float32]:
    """float32 [``count``, D], once the header claims no more. Raises `ValueError` for anything else."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, transposed, dtype = header(file)
    if len(shape) != 2 or shape[0] != count or not 1 <= shape[1] <= MOST_DIMENSIONS or dtype != np.float32:
        raise ValueError(f"vectors of {count} images cannot be {dtype} {list(shape)}")
    if transposed:
        raise ValueError("vectors lie in columns")
    content = file.read(4 * shape[0] * shape[1])
    return np.frombuffer(content, np.float32).reshape(shape).copy()


def rebuild(path: Path, model: Embedder, progress: Progress, *, drop_lost: bool = False) -> tuple[int, list[str]]:
    """Embed all images of the gallery ``path`` anew by ``model``, from where they came, in one transaction.

    Args:
        drop_lost: let images go whose files are gone.

    Returns:
        How many there are now, and what was let go.

    Raises:
        InputError: an image cannot be embedded and may not be let go, or not one can.
        StorageError: images were enrolled meanwhile.
    """
    store = Store(path)
    sources, pictures = store.sources(), Pictures(path)
    vectors: dict[int, NDArray[np.float32]] = {}
    lost: list[str] = []
    numbers = list(sources)
    starts = range(0, len(numbers), AT_ONCE)
    for start in progress(starts, len(starts), "embedding"):
        decoded = {}
        for number in numbers[start : start + AT_ONCE]:
            name, source = sources[number]
            try:
                if not source:
                    raise DataError("it did not come from a file")
                decoded[number] = decode_file(pictures.find(source), model.preprocessing)
            except (DataError, StorageError, OSError) as error:
                lost.append(f"{name}: {source or 'an image'}: {error}")
        vectors.update(zip(decoded, np.asarray(model.embed(list(decoded.values()))), strict=True))
    if lost and (not drop_lost or not vectors):
        listed = "\n".join(f"  {line}" for line in lost[:10])
        raise InputError(
            f"{len(lost)} of the {len(numbers)} images of {path} cannot be embedded anew, and nothing was changed:\n"
            f"{listed}\nPut them back where they were, or let them go: --drop-lost."
        )
    store.replace_vectors(model.saved_id, vectors, model.embedding_size, numbers)
    store.close()
    return len(vectors), lost
