"""Read images from tar shards by an index of offsets: each image needs one read, in any order and process."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.catalog import cache_folder
from steradian.data.decode import SUFFIXES, Pixels, decode
from steradian.data.images import MAX_MEMBER, SPLIT_NAMES, ImageSet, labeled
from steradian.errors import DataError
from steradian.files import atomic_file, explained, printable, sha256_of

INDEX = "shards"
LABELS = (".cls", ".json", ".txt")
"""Suffixes of the file beside an image that names its class, first match first; .json needs a "label"."""

MAX_LABEL = 2**20
LONGEST_CLASS = 1000


@dataclass(frozen=True)
class TarItems:
    """Images in tar files.

    Attributes:
        shards: the tar files.
        shard: int64 [N], index of the shard of each image.
        offset, size: int64 [N], first byte and number of bytes of each image.
        names: name of each image in its shard.
    """

    shards: tuple[Path, ...]
    shard: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.shard)

    def name(self, index: int) -> str:
        return printable(f"{self.shards[self.shard[index]]}:{self.names[index]}")

    def pixels(self, index: int, shortest: int | None = None) -> Pixels:
        if self.size[index] > MAX_MEMBER:
            raise DataError(f"it has more than {MAX_MEMBER:,} bytes")
        try:
            with self.shards[self.shard[index]].open("rb") as file:
                file.seek(int(self.offset[index]))
                content = file.read(int(self.size[index]))
        except OSError as error:
            raise DataError(f"it cannot be read from the shard ({error})") from error
        return decode(content, shortest)


def open_shards(source: Path) -> ImageSet:
    """Open a .tar, or a folder of them whose names begin with their split (``train-000000.tar``).

    The class of ``0001.jpg`` is the text of ``0001.cls`` or ``0001.txt``, or "label" in ``0001.json`` (WebDataset);
    without such a file, it is the image's folder. Indexes of offsets are cached by path, size and modification time
    of the shard.
    """
    shards = tuple(sorted(source.glob("*.tar"))) if source.is_dir() else (source,)
    names: list[str] = []
    labels: list[str] = []
    locations: list[tuple[int, int, int]] = []
    splits: list[str] = []
    for number, shard in enumerate(shards):
        index = _index(shard)
        names += index["names"].tolist()
        labels += index["labels"].tolist()
        locations += [(number, int(offset), int(size)) for offset, size in index["places"]]
        prefix = shard.stem.split("-")[0].lower()
        splits += [SPLIT_NAMES.get(prefix, "")] * len(index["names"])
    if any(splits) and not all(splits):
        odd = next(shard for shard in shards if shard.stem.split("-")[0].lower() not in SPLIT_NAMES)
        raise DataError(
            f"The name of {odd} does not begin with a split, but others do. Rename it, for example train-0001.tar."
        )
    location_table = np.array(locations, dtype=np.int64).reshape(-1, 3)
    items = TarItems(shards, location_table[:, 0], location_table[:, 1], location_table[:, 2], tuple(names))
    return labeled(str(source), items, labels, splits if splits and all(splits) else None)


def _index(shard: Path) -> dict[str, NDArray[Any]]:
    """Return names, classes, and (offset, size) of the images of a shard, from the cache if possible."""
    with explained("read", shard):
        file_stat = shard.stat()
    key = sha256_of(repr((str(shard.resolve()), file_stat.st_size, file_stat.st_mtime_ns)).encode())[:40]
    path = cache_folder() / INDEX / f"{key}.npz"
    if path.is_file():
        with explained("read", path), np.load(path, allow_pickle=False) as cached:
            return {name: cached[name] for name in ("names", "labels", "places")}
    index = _scan(shard)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, names=index["names"], labels=index["labels"], places=index["places"])
    return index


def _scan(shard: Path) -> dict[str, NDArray[Any]]:
    images: list[tuple[str, int, int]] = []
    label_texts: dict[str, dict[str, str]] = {}
    with explained("read", shard):
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    stem, suffix = _parts(member.name)
                    if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
                        continue
                    if suffix in SUFFIXES:
                        images.append((member.name, member.offset_data, member.size))
                    elif suffix in LABELS and member.size <= MAX_LABEL:
                        file = archive.extractfile(member)
                        text = file.read().decode("utf-8", errors="replace") if file is not None else ""
                        label_texts.setdefault(stem, {})[suffix] = text
                end = archive.offset
        except tarfile.TarError as error:
            raise DataError(
                f"{shard} is not a readable .tar ({error}). If it is compressed, unpack it with gunzip."
            ) from error
        with shard.open("rb") as file:
            file.seek(end)
            # tarfile stops silently at a header that it cannot read; an intact archive ends in zeros.
            if file.read(512).strip(b"\0"):
                raise DataError(f"{shard} is damaged at byte {end:,}: the rest cannot be read. Copy it again.")
    labels = [_class_of(shard, name, label_texts) for name, _, _ in images]
    return {
        "names": np.array([name for name, _, _ in images], dtype=np.str_),
        "labels": np.array(labels, dtype=np.str_),
        "places": np.array([(offset, size) for _, offset, size in images], dtype=np.int64).reshape(-1, 2),
    }


def _parts(name: str) -> tuple[str, str]:
    """Return key and suffix of a member; the key ends at the first dot of the base name, as in WebDataset."""
    folder, slash, base = name.rpartition("/")
    stem, dot, endings = base.partition(".")
    return f"{folder}{slash}{stem}", f".{endings.rpartition('.')[2].lower()}" if dot else ""


def _class_of(shard: Path, name: str, label_texts: dict[str, dict[str, str]]) -> str:
    texts = label_texts.get(_parts(name)[0], {})
    text = next((texts[suffix] for suffix in LABELS if suffix in texts), None)
    if text is not None and ".json" in texts and ".cls" not in texts:
        text = _json_label(text)
    folders: Sequence[str] = PurePosixPath(name).parts[:-1]
    label = text.strip() if text is not None else (folders[-1] if folders else "")
    if not label:
        raise DataError(f"{shard}: {name} has no class. Expected {_parts(name)[0]}.cls beside it, or a class folder.")
    if len(label) > LONGEST_CLASS:
        raise DataError(
            f"{shard}: the class of {name} has {len(label):,} characters; at most {LONGEST_CLASS:,} are allowed. "
            "Is it a caption?"
        )
    return label


def _json_label(text: str) -> str:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return str(content["label"]) if isinstance(content, dict) and content.get("label") is not None else ""
