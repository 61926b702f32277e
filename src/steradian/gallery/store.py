"""Store the enrolled identities and their images."""

from __future__ import annotations

import datetime
import json
import secrets
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError, NotFoundError, StorageError
from steradian.gallery.record import Record

Who = str | int
"""An identity by name, or by its id, which never changes."""

LONGEST_NAME, LONGEST_METADATA, DEEPEST_METADATA = 256, 65_536, 32


@dataclass(frozen=True)
class Identity:
    """An enrolled person or thing.

    Attributes:
        images: number of images.
        created, changed: UTC, ISO 8601.
        metadata: any JSON object.
    """

    name: str
    images: int
    created: str
    changed: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """An enrolled image.

    Attributes:
        source: the file it came from; empty if it was not a file.
        created: UTC, ISO 8601.
    """

    id: int
    identity: int
    source: str
    created: str


@dataclass(frozen=True)
class Rows:
    """Enrolled images as stored.

    Attributes:
        ids: int64 [M], ascending.
        identities: int64 [M], the identity of each image.
        vectors: float32 [M, D].
    """

    ids: NDArray[np.int64]
    identities: NDArray[np.int64]
    vectors: NDArray[np.float32]


def checked_name(name: str) -> str:
    """Return ``name`` in Unicode form NFC, without surrounding spaces.

    Raises:
        InputError: the name is empty, too long, or contains control characters.
    """
    normalized = unicodedata.normalize("NFC", name).strip()
    if not normalized or len(normalized) > LONGEST_NAME:
        raise InputError(f"a name must have 1 to {LONGEST_NAME} characters, but this one has {len(normalized)}.")
    for character in normalized:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            raise InputError(f"the name contains the control character U+{ord(character):04X}. Leave it out.")
    return normalized


def checked_vectors(name: str, vectors: NDArray[np.float32], dimensions: int) -> None:
    """Raise `InputError` unless ``vectors`` of ``name`` are finite and [M, ``dimensions``]."""
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise InputError(f"vectors of this gallery must be [M, {dimensions}], but these are {list(vectors.shape)}.")
    if not np.isfinite(vectors).all():
        raise InputError(f"a vector of {name!r} is not finite. Check how its image was embedded.")


def as_source(source: str | Path) -> str:
    """Return the source of an image as stored text, with bytes that are not UTF-8 escaped."""
    return str(source).encode("utf-8", "backslashreplace").decode()


class Store(Record):
    """The enrolled identities and images, in a `Record`."""

    def add(
        self,
        name: str,
        vectors: NDArray[np.float32],
        sources: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Add images [M, D] of ``name``, new or already enrolled; merge ``metadata`` into the existing.

        Returns:
            The id of ``name``.
        """
        return self.add_many([(name, vectors, sources, metadata)])[0]

    def add_many(
        self,
        people: Sequence[tuple[str, NDArray[np.float32], Sequence[str], Mapping[str, Any] | None]],
    ) -> list[int]:
        """Add all of ``people`` in one transaction, see `add`."""
        checked = [(checked_name(name), vectors, sources, data) for name, vectors, sources, data in people]
        now, numbers = moment(), []
        with self.change():
            for name, vectors, sources, data in checked:
                checked_vectors(name, vectors, self.dimensions)
                identity = self._identity(name, now, data)
                numbers.append(identity)
                rows = vectors.astype("<f4")
                self._connection.executemany(
                    "INSERT INTO images (identity, vector, source, created) VALUES (?, ?, ?, ?)",
                    (
                        (identity, row.tobytes(), as_source(source), now)
                        for row, source in zip(rows, sources, strict=True)
                    ),
                )
        return numbers

    def _identity(self, name: str, now: str, metadata: Mapping[str, Any] | None) -> int:
        run = self._connection.execute
        existing = run("SELECT id, metadata FROM identities WHERE name = ?", (name,)).fetchone()
        if existing is None:
            row = (name, now, now, as_json(metadata or {}))
            return int(
                run("INSERT INTO identities (name, created, changed, metadata) VALUES (?, ?, ?, ?)", row).lastrowid or 0
            )
        merged = as_json({**json.loads(existing[1]), **(metadata or {})})
        run("UPDATE identities SET changed = ?, metadata = ? WHERE id = ?", (now, merged, existing[0]))
        return int(existing[0])

    def number(self, who: Who) -> int:
        """Return the id of ``who``. Raises `InputError` if it is not enrolled."""
        with self._lock, self._storage_errors():
            if not isinstance(who, str):
                row = self._connection.execute("SELECT id FROM identities WHERE id = ?", (int(who),)).fetchone()
            else:
                name = unicodedata.normalize("NFC", who).strip()
                row = self._connection.execute("SELECT id FROM identities WHERE name = ?", (name,)).fetchone()
        if row is None:
            called = f"called {who!r}" if isinstance(who, str) else f"with the number {who}"
            raise NotFoundError(f"nobody {called} is enrolled in {self.path}.")
        return int(row[0])

    def remove(self, who: Who) -> list[str]:
        """Remove an identity and its images; return the sources of these."""
        with self.change():
            number = self.number(who)
            sources = [image.source for image in self._images("identity = ?", number)]
            self._connection.execute("DELETE FROM images WHERE identity = ?", (number,))
            self._connection.execute("DELETE FROM identities WHERE id = ?", (number,))
            self._rewritten()
        return sources

    def rename(self, who: Who, new: str) -> None:
        """Rename ``who`` to ``new``. Raises `InputError` if the name is taken."""
        self.edit(who, name=new)

    def edit(self, who: Who, *, name: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Replace the ``name``, the ``metadata``, or both; None keeps the present value.

        Raises:
            InputError: ``name`` is already taken.
        """
        new = checked_name(name) if name is not None else None
        metadata_json = as_json(metadata) if metadata is not None else None
        with self.change():
            number, run = self.number(who), self._connection.execute
            if new is not None:
                taken = run("SELECT id FROM identities WHERE name = ?", (new,)).fetchone()
                if taken is not None and taken[0] != number:
                    raise InputError(f"{new!r} is already taken. To combine the two: steradian gallery merge.")
                run("UPDATE identities SET name = ? WHERE id = ?", (new, number))
                self._rewritten()
            if metadata_json is not None:
                run("UPDATE identities SET metadata = ? WHERE id = ?", (metadata_json, number))
            run("UPDATE identities SET changed = ? WHERE id = ?", (moment(), number))

    def merge(self, who: Who, into: Who) -> None:
        """Move the images of ``who`` to ``into`` and remove ``who``."""
        with self.change():
            number, other = self.number(who), self.number(into)
            if number == other:
                raise InputError(f"{who!r} cannot be merged into itself.")
            self._connection.execute("UPDATE images SET identity = ? WHERE identity = ?", (other, number))
            self._connection.execute("DELETE FROM identities WHERE id = ?", (number,))
            self._connection.execute("UPDATE identities SET changed = ? WHERE id = ?", (moment(), other))
            self._rewritten()

    def replace_vectors(
        self, model: str, vectors: Mapping[int, NDArray[np.float32]], dimensions: int, seen: Collection[int]
    ) -> None:
        """Replace all vectors by those of another model; remove images of ``seen`` that have none in ``vectors``.

        Raises:
            StorageError: images were enrolled that are not in ``seen``.
        """
        with self.change():
            current = {int(row[0]) for row in self._connection.execute("SELECT id FROM images")}
            if current - set(seen):
                raise StorageError(f"Images were enrolled in {self.path} meanwhile. Nothing was changed: run it again.")
            updated = current & vectors.keys()
            self._connection.executemany(
                "UPDATE images SET vector = ? WHERE id = ?",
                ((vectors[number].astype("<f4").tobytes(), number) for number in updated),
            )
            self._connection.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            self._connection.executemany("INSERT INTO kept VALUES (?)", ((number,) for number in updated))
            self._connection.execute("DELETE FROM images WHERE id NOT IN (SELECT id FROM kept)")
            self._connection.execute("DROP TABLE kept")
            self.set_fact("model", model)
            self.set_fact("dimensions", str(dimensions))
            self.set_fact("thresholds", "[]")
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES ('token', ?)", (secrets.token_hex(16),))
            self._rewritten()
        self.model, self.dimensions = model, dimensions

    def _rewritten(self) -> None:
        self._connection.execute("UPDATE facts SET value = value + 1 WHERE name = 'rewrites'")

    def __len__(self) -> int:
        with self._lock, self._storage_errors():
            return int(self._connection.execute("SELECT count(*) FROM identities").fetchone()[0])

    def identity(self, who: Who) -> tuple[int, Identity]:
        """Return the id and the identity. Raises `InputError` if it is not enrolled."""
        with self.reading():
            return self._identities("WHERE i.id = ?", (self.number(who),))[0]

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        """List (id, identity), sorted by name.

        Args:
            containing: only names that contain this, ignoring case.
            after: only names sorted after this one.
            limit: maximum number; -1: all.
        """
        parameters = (unicodedata.normalize("NFC", containing).casefold(), after, limit)
        return self._identities("WHERE instr(folded(name), ?) AND name > ? ORDER BY name LIMIT ?", parameters)

    def _identities(self, condition: str, parameters: tuple[Any, ...]) -> list[tuple[int, Identity]]:
        with self._lock, self._storage_errors():
            rows = self._connection.execute(
                "SELECT i.id, name, created, changed, metadata, (SELECT count(*) FROM images WHERE identity = i.id) "
                f"FROM identities i {condition}",
                parameters,
            ).fetchall()
        return [
            (int(number), Identity(name, int(images), created, changed, json.loads(metadata)))
            for number, name, created, changed, metadata, images in rows
        ]

    def names(self, after: int = 0) -> dict[int, str]:
        """Return id -> name of identities with an id above ``after``."""
        with self._lock, self._storage_errors():
            rows = self._connection.execute("SELECT id, name FROM identities WHERE id > ?", (after,)).fetchall()
        return {int(number): name for number, name in rows}

    def images_of(self, who: Who) -> list[Kept]:
        """List the images of an identity in the order of enrollment."""
        with self.reading():
            return self._images("identity = ? ORDER BY id", self.number(who))

    def image(self, number: int) -> Kept:
        """Return one image. Raises `InputError` if it does not exist."""
        images = self._images("id = ?", number)
        if not images:
            raise NotFoundError(f"there is no image {number} in {self.path}.")
        return images[0]

    def _images(self, condition: str, value: int) -> list[Kept]:
        with self._lock, self._storage_errors():
            rows = self._connection.execute(
                f"SELECT id, identity, source, created FROM images WHERE {condition}", (value,)
            ).fetchall()
        return [Kept(int(number), int(identity), source, created) for number, identity, source, created in rows]

    def token(self) -> str:
        """Return a random token that changes when vectors are replaced: an index with another token is stale."""
        with self._lock, self._storage_errors():
            row = self._connection.execute("SELECT value FROM facts WHERE name = 'token'").fetchone()
        return str(row[0]) if row is not None else ""

    def state(self) -> tuple[int, int]:
        """Return (number of rewrites, last image id), by which a copy in memory notices changes."""
        with self._lock, self._storage_errors():
            last = self._connection.execute("SELECT max(id) FROM images").fetchone()[0]
        return int(self.fact("rewrites")), int(last or 0)

    def rows(self, after: int = 0) -> Rows:
        """Return the images with an id above ``after``."""
        with self._lock, self._storage_errors():
            records = self._connection.execute(
                "SELECT id, identity, vector FROM images WHERE id > ? ORDER BY id", (after,)
            ).fetchall()
        ids, identities, contents = zip(*records, strict=True) if records else ((), (), ())
        size = 4 * self.dimensions
        if set(map(len, contents)) - {size}:
            first = next(number for number, _, vector in records if len(vector) != size)
            raise StorageError(f"{self.path} is damaged: image {first} has no vector of {self.dimensions} dimensions.")
        vectors = np.frombuffer(b"".join(contents), dtype="<f4").reshape(-1, self.dimensions)
        owners = np.array(identities, dtype=np.int64)
        return Rows(np.array(ids, dtype=np.int64), owners, vectors.astype(np.float32, copy=False))

    def sources(self) -> dict[int, tuple[str, str]]:
        """Return image id -> (name, source)."""
        with self._lock, self._storage_errors():
            rows = self._connection.execute(
                "SELECT images.id, name, source FROM images JOIN identities ON identity = identities.id"
            ).fetchall()
        return {int(number): (name, source) for number, name, source in rows}


def as_json(metadata: Mapping[str, Any]) -> str:
    """Return metadata as stored text. Raises `InputError` if they are not plain JSON, too long or too deep."""
    try:
        if _depth(metadata) > DEEPEST_METADATA:
            raise InputError(f"metadata may be nested at most {DEEPEST_METADATA} levels deep, but these go deeper.")
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"metadata must be plain JSON values ({error}).") from error
    if len(text) > LONGEST_METADATA:
        raise InputError(f"metadata has {len(text):,} characters; at most {LONGEST_METADATA:,} are allowed.")
    return text


def _depth(value: Any, depth: int = 0) -> int:
    if depth > DEEPEST_METADATA or not isinstance(value, Mapping | list | tuple):
        return depth
    children = value.values() if isinstance(value, Mapping) else value
    return max((_depth(child, depth + 1) for child in children), default=depth + 1)


def moment() -> str:
    """Return the present time: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
