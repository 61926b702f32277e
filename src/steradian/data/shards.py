"""Read images from tar shards by an index of offsets: each image needs one read, in any order and process."""

from __future__ import annotations

import codecs
import contextlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.data.cache_folder import cache_folder
from steradian.data.clean_table import with_one_spelling
from steradian.data.decode import Content
from steradian.data.file_kinds import HIDDEN, LINKS, OTHER, REPLACED, UNUSED, PassedOver, reads_heic, tables_in, why_not
from steradian.data.images import DAMAGED_ZIP, MAX_MEMBER, SPLIT_NAMES, ImageSet, labeled, sampled_content
from steradian.data.remote import is_remote, read, runs_an_event_loop
from steradian.data.text_column import Texts, text_column
from steradian.errors import DataError
from steradian.files import atomic_file, explained, printable, sha256_of

INDEX = "shards-3"
LABELS = (".cls", ".json", ".txt")
"""Suffixes of the file beside an image that names its class, first match first; .json needs a "label"."""

MAX_LABEL = 2**20
LONGEST_CLASS = 1000


@dataclass(frozen=True)
class TarItems:
    """Images in tar files.

    Attributes:
        shards: the tar files, or addresses of them.
        shard: int64 [N], index of the shard of each image.
        offset, size: int64 [N], first byte and number of bytes of each image.
        names: [N], name of each image in its shard.
    """

    shards: tuple[Path, ...]
    shard: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    names: Texts

    @property
    def needs_spawn(self) -> bool:
        return runs_an_event_loop(self.shards[0])

    def __len__(self) -> int:
        return len(self.shard)

    def name(self, index: int) -> str:
        return printable(f"{self.shards[self.shard[index]]}:{self.names[index]}")

    def content(self, index: int) -> Content:
        shard, start, size = self.shards[self.shard[index]], int(self.offset[index]), int(self.size[index])
        if size > MAX_MEMBER:
            raise DataError(f"it has more than {MAX_MEMBER:,} bytes")
        if is_remote(shard):
            return read(shard, start, start + size)
        try:
            with shard.open("rb") as file:
                file.seek(start)
                content: bytes = file.read(size)
                return content
        except OSError as error:
            raise DataError(f"it cannot be read from the shard ({error})") from error

    def fingerprint(self) -> str:
        names = "\n".join(self.names).encode("utf-8", "surrogateescape")
        content = (sampled_content(shard) for shard in self.shards)
        return sha256_of(names, self.offset.tobytes(), self.size.tobytes(), *content)


def open_shards(source: Path) -> ImageSet:
    """Open a .tar, or a folder of them whose names begin with their split (``train-000000.tar``).

    The class of ``0001.jpg`` is the text of ``0001.cls`` or ``0001.txt``, or "label" in ``0001.json`` (WebDataset);
    without such a file, it is the image's folder. Indexes of offsets are cached by path, size and modification time
    of the shard.
    """
    shards, passed = tables_in(source, ".tar") if source.is_dir() else ((source,), ())
    indexes = [_index(shard) for shard in shards]
    counts = [len(index["names"]) for index in indexes]
    names, labels = (
        np.concatenate([text_column(index[key].tolist()) for index in indexes]) for key in ("names", "labels")
    )
    splits = [SPLIT_NAMES.get(shard.stem.split("-")[0].lower(), "") for shard in shards]
    if any(splits) and not all(splits):
        odd = shards[splits.index("")]
        raise DataError(
            f"The name of {odd} does not begin with a split, but others do. Rename it, for example train-0001.tar."
        )
    places = np.concatenate([index["places"] for index in indexes]).reshape(-1, 2)
    items = TarItems(shards, np.repeat(np.arange(len(shards)), counts), places[:, 0], places[:, 1], names)
    labels, spelling = with_one_spelling(labels, str(source), items.name)
    notes = (*passed, *(str(note) for index in indexes for note in index["notes"]), *spelling)
    return labeled(str(source), items, labels, np.repeat(splits, counts) if all(splits) else None, notes=notes)


def _index(shard: Path) -> dict[str, NDArray[Any]]:
    """Return names, classes, and (offset, size) of the images of a shard, from the cache if possible."""
    with explained("read", shard):
        found = shard.stat()
        place = str(shard) if is_remote(shard) else str(shard.resolve())
    # What is passed over depends on what can be read here.
    key = sha256_of(repr((place, found.st_size, getattr(found, "st_mtime_ns", 0), reads_heic())).encode())[:40]
    path = cache_folder() / INDEX / f"{key}.npz"
    # A damaged index is made again.
    with contextlib.suppress(*DAMAGED_ZIP), np.load(path, allow_pickle=False) as cached:
        return {name: cached[name] for name in ("names", "labels", "places", "notes")}
    index = _scan(shard)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, names=index["names"], labels=index["labels"], places=index["places"], notes=index["notes"])
    return index


def _scan(shard: Path) -> dict[str, NDArray[Any]]:
    # As tar itself does when it unpacks, the last of several members of one name is taken.
    images: dict[str, tuple[int, int]] = {}
    texts = _LabelTexts()
    passed = PassedOver()
    with explained("read", shard):
        try:
            with shard.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if member.isdir():
                        continue
                    if not member.isfile():
                        passed.add(LINKS if member.islnk() or member.issym() else OTHER, member.name)
                        continue
                    suffix = PurePosixPath(member.name).suffix.lower()
                    if suffix in LABELS and why_not(member.name) != HIDDEN:
                        if member.size > MAX_LABEL:
                            passed.add(f"over {MAX_LABEL:,} bytes of label", member.name)
                            continue
                        file = archive.extractfile(member)
                        content = file.read() if file is not None else b""
                        texts.add(member.name, _text(content, f"{shard}: {member.name}"))
                    elif passed.takes(member.name):
                        if member.name in images:
                            passed.add(REPLACED, member.name)
                        images[member.name] = (member.offset_data, member.size)
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
    labels = [_class_of(shard, name, texts) for name in images]
    for name in texts.unused():
        passed.add(UNUSED, name)
    return {
        "notes": np.array(passed.notes(shard.name), dtype=np.str_),
        "names": np.array(list(images), dtype=np.str_),
        "labels": np.array(labels, dtype=np.str_),
        "places": np.array(list(images.values()), dtype=np.int64).reshape(-1, 2),
    }


def _text(content: bytes, name: str) -> str:
    """Decode the text that names a class: UTF-8, or another encoding of Unicode with its mark."""
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8: byte {content[error.start]:#04x}. Write the labels as UTF-8.") from error


class _LabelTexts:
    """The files that name classes, by the whole name before their suffix."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, str]] = {}
        self._keys: dict[str, set[str]] = {}
        self._used: set[str] = set()

    def add(self, name: str, text: str) -> None:
        stem = name.rpartition(".")[0]
        self._texts.setdefault(stem, {})[PurePosixPath(name).suffix.lower()] = text
        self._keys.setdefault(key_of(name), set()).add(stem)

    def of(self, image: str) -> dict[str, str]:
        """Return the texts of an image by suffix: of the file with its whole name, else of the only one of its key.

        WebDataset ends the key of a file at the first dot, so that ``a.left.jpg`` and ``a.right.jpg`` share ``a.cls``;
        but of ``Track 2.01.jpg`` and ``Track 2.02.jpg``, each has a file of its own.
        """
        folder, slash, base = image.rpartition("/")
        endings = base.split(".")
        for count in range(len(endings) - 1, 0, -1):
            stem = f"{folder}{slash}{'.'.join(endings[:count])}"
            if stem in self._texts:
                self._used.add(stem)
                return self._texts[stem]
        stems = self._keys.get(key_of(image), set())
        if len(stems) != 1:
            return {}
        self._used |= stems
        return self._texts[next(iter(stems))]

    def unused(self) -> list[str]:
        """Return the names of the files that `of` has returned for no image."""
        return [f"{stem}{suffix}" for stem in self._texts if stem not in self._used for suffix in self._texts[stem]]


def key_of(name: str) -> str:
    """Return the key of a member of a shard: its name up to the first dot of the base name, as in WebDataset."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _class_of(shard: Path, name: str, label_texts: _LabelTexts) -> str:
    texts = label_texts.of(name)
    text = next((texts[suffix] for suffix in LABELS if suffix in texts), None)
    if text is not None and ".json" in texts and ".cls" not in texts:
        text = _json_label(text)
    folders: Sequence[str] = PurePosixPath(name).parts[:-1]
    label = text.strip() if text is not None else (folders[-1] if folders else "")
    if not label:
        raise DataError(f"{shard}: {name} has no class. Expected {key_of(name)}.cls beside it, or a class folder.")
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
