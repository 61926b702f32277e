"""Who is enrolled by which images."""

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

from steradian.errors import InputError, MissingError, StorageError
from steradian.gallery.record import Record

Who = str | int
"""Somebody by name or by the number that never changes."""

LONGEST_NAME, LONGEST_METADATA, DEEPEST_METADATA = 256, 65_536, 32


@dataclass(frozen=True)
class Identity:
    """Somebody or something that is enrolled.

    Attributes:
        images: how many.
        created, changed: UTC, ISO 8601.
        metadata: free, a JSON object.
    """

    name: str
    images: int
    created: str
    changed: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """An image of somebody.

    Attributes:
        source: where it came from; empty where it was no file.
        created: UTC, ISO 8601.
    """

    id: int
    identity: int
    source: str
    created: str


@dataclass(frozen=True)
class Rows:
    """Images as the record holds them.

    Attributes:
        ids: int64 [M], rising.
        identities: int64 [M], whose they are.
        vectors: float32 [M, D].
    """

    ids: NDArray[np.int64]
    identities: NDArray[np.int64]
    vectors: NDArray[np.float32]


def checked_name(name: str) -> str:
    """``name`` without spaces around it.

    Raises:
        InputError: empty, too long, or with characters that control how text is shown.
    """
    found = unicodedata.normalize("NFC", name).strip()
    if not found or len(found) > LONGEST_NAME:
        raise InputError(f"a name has 1 to {LONGEST_NAME} characters, but this one has {len(found)}.")
    for character in found:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            raise InputError(
                f"the name holds the character U+{ord(character):04X}, which controls how text is shown. Leave it out."
            )
    return found


def checked_vectors(name: str, vectors: NDArray[np.float32], dimensions: int) -> None:
    """Raise `InputError` unless ``vectors`` of ``name`` are finite and [M, ``dimensions``]."""
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise InputError(f"vectors of this gallery are [M, {dimensions}], but these are {list(vectors.shape)}.")
    if not np.isfinite(vectors).all():
        raise InputError(f"a vector of {name!r} is not finite, so nothing could be compared with it.")


def as_source(place: str | Path) -> str:
    """Where an image came from, as it is kept: bytes that are no UTF-8 are written out."""
    return str(place).encode("utf-8", "backslashreplace").decode()


class Store(Record):
    """Who is enrolled, in a `Record`."""

    def add(
        self,
        name: str,
        vectors: NDArray[np.float32],
        sources: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Images [M, D] of ``name``, who is there already or new; ``metadata`` is joined to what there is.

        Returns:
            The number of ``name``.
        """
        return self.add_many([(name, vectors, sources, metadata)])[0]

    def add_many(
        self,
        people: Sequence[tuple[str, NDArray[np.float32], Sequence[str], Mapping[str, Any] | None]],
    ) -> list[int]:
        """`add` for each of ``people``, in one transaction."""
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
        found = run("SELECT id, metadata FROM identities WHERE name = ?", (name,)).fetchone()
        if found is None:
            row = (name, now, now, as_json(metadata or {}))
            return int(
                run("INSERT INTO identities (name, created, changed, metadata) VALUES (?, ?, ?, ?)", row).lastrowid or 0
            )
        joined = as_json({**json.loads(found[1]), **(metadata or {})})
        run("UPDATE identities SET changed = ?, metadata = ? WHERE id = ?", (now, joined, found[0]))
        return int(found[0])

    def number(self, who: Who) -> int:
        """The id of ``who``. Raises `InputError` where there is none."""
        with self._lock, self._told():
            if not isinstance(who, str):
                row = self._connection.execute("SELECT id FROM identities WHERE id = ?", (int(who),)).fetchone()
            else:
                name = unicodedata.normalize("NFC", who).strip()
                row = self._connection.execute("SELECT id FROM identities WHERE name = ?", (name,)).fetchone()
        if row is None:
            called = f"called {who!r}" if isinstance(who, str) else f"with the number {who}"
            raise MissingError(f"nobody {called} is enrolled in {self.path}.")
        return int(row[0])

    def remove(self, who: Who) -> list[str]:
        """Somebody and all images; where these came from."""
        with self.change():
            number = self.number(who)
            sources = [image.source for image in self._images("identity = ?", number)]
            self._connection.execute("DELETE FROM images WHERE identity = ?", (number,))
            self._connection.execute("DELETE FROM identities WHERE id = ?", (number,))
            self._rewritten()
        return sources

    def rename(self, who: Who, new: str) -> None:
        """``who`` is called ``new`` from now on. Raises `InputError` where somebody is called so already."""
        self.edit(who, name=new)

    def edit(self, who: Who, *, name: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Another ``name``, other ``metadata`` in place of those that are there, or both; None: as it is.

        Raises:
            InputError: somebody is called ``name`` already.
        """
        new = checked_name(name) if name is not None else None
        facts = as_json(metadata) if metadata is not None else None
        with self.change():
            number, run = self.number(who), self._connection.execute
            if new is not None:
                taken = run("SELECT id FROM identities WHERE name = ?", (new,)).fetchone()
                if taken is not None and taken[0] != number:
                    raise InputError(
                        f"somebody is called {new!r} already. To make one of both: steradian gallery merge."
                    )
                run("UPDATE identities SET name = ? WHERE id = ?", (new, number))
                self._rewritten()
            if facts is not None:
                run("UPDATE identities SET metadata = ? WHERE id = ?", (facts, number))
            run("UPDATE identities SET changed = ? WHERE id = ?", (moment(), number))

    def merge(self, who: Who, into: Who) -> None:
        """The images of ``who`` are those of ``into`` from now on."""
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
        """Vectors of another model for the images ``vectors``; those of ``seen`` that are not among them are removed.

        Raises:
            StorageError: there are images by now that were not ``seen``.
        """
        with self.change():
            held = {int(row[0]) for row in self._connection.execute("SELECT id FROM images")}
            if held - set(seen):
                raise StorageError(f"Images were enrolled in {self.path} meanwhile. Nothing was changed: run it again.")
            kept = held & vectors.keys()
            self._connection.executemany(
                "UPDATE images SET vector = ? WHERE id = ?",
                ((vectors[number].astype("<f4").tobytes(), number) for number in kept),
            )
            self._connection.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            self._connection.executemany("INSERT INTO kept VALUES (?)", ((number,) for number in kept))
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
        with self._lock, self._told():
            return int(self._connection.execute("SELECT count(*) FROM identities").fetchone()[0])

    def identity(self, who: Who) -> tuple[int, Identity]:
        """One of `identities`. Raises `InputError` where there is none."""
        with self.reading():
            return self._identities("WHERE i.id = ?", (self.number(who),))[0]

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        """Everybody by id, in the order of their names.

        Args:
            containing: only names that hold this, in capitals or not.
            after: only names behind this one.
            limit: how many at the most; -1: all.
        """
        asked = (unicodedata.normalize("NFC", containing).casefold(), after, limit)
        return self._identities("WHERE instr(folded(name), ?) AND name > ? ORDER BY name LIMIT ?", asked)

    def _identities(self, which: str, asked: tuple[Any, ...]) -> list[tuple[int, Identity]]:
        with self._lock, self._told():
            rows = self._connection.execute(
                "SELECT i.id, name, created, changed, metadata, (SELECT count(*) FROM images WHERE identity = i.id) "
                f"FROM identities i {which}",
                asked,
            ).fetchall()
        return [
            (int(number), Identity(name, int(images), created, changed, json.loads(metadata)))
            for number, name, created, changed, metadata, images in rows
        ]

    def names(self, after: int = 0) -> dict[int, str]:
        """Of the identities with an id above ``after``."""
        with self._lock, self._told():
            rows = self._connection.execute("SELECT id, name FROM identities WHERE id > ?", (after,)).fetchall()
        return {int(number): name for number, name in rows}

    def images_of(self, who: Who) -> list[Kept]:
        """The images of somebody, the first enrolled first."""
        with self.reading():
            return self._images("identity = ? ORDER BY id", self.number(who))

    def image(self, number: int) -> Kept:
        """One image. Raises `InputError` where there is none."""
        found = self._images("id = ?", number)
        if not found:
            raise MissingError(f"there is no image {number} in {self.path}.")
        return found[0]

    def _images(self, which: str, asked: int) -> list[Kept]:
        with self._lock, self._told():
            rows = self._connection.execute(
                f"SELECT id, identity, source, created FROM images WHERE {which}", (asked,)
            ).fetchall()
        return [Kept(int(number), int(identity), source, created) for number, identity, source, created in rows]

    def token(self) -> str:
        """A random word that stays as long as vectors do: another means that what was made of them is of no use."""
        with self._lock, self._told():
            row = self._connection.execute("SELECT value FROM facts WHERE name = 'token'").fetchone()
        return str(row[0]) if row is not None else ""

    def state(self) -> tuple[int, int]:
        """(how often rows have changed or gone, the last id): what a copy in memory is compared by."""
        with self._lock, self._told():
            last = self._connection.execute("SELECT max(id) FROM images").fetchone()[0]
        return int(self.fact("rewrites")), int(last or 0)

    def rows(self, after: int = 0) -> Rows:
        """Images with an id above ``after``."""
        with self._lock, self._told():
            found = self._connection.execute(
                "SELECT id, identity, vector FROM images WHERE id > ? ORDER BY id", (after,)
            ).fetchall()
        ids, identities, contents = zip(*found, strict=True) if found else ((), (), ())
        size = 4 * self.dimensions
        if set(map(len, contents)) - {size}:
            wrong = next(number for number, _, vector in found if len(vector) != size)
            raise StorageError(f"{self.path} is damaged: image {wrong} has no vector of {self.dimensions} dimensions.")
        vectors = np.frombuffer(b"".join(contents), dtype="<f4").reshape(-1, self.dimensions)
        owners = np.array(identities, dtype=np.int64)
        return Rows(np.array(ids, dtype=np.int64), owners, vectors.astype(np.float32, copy=False))

    def sources(self) -> dict[int, tuple[str, str]]:
        """Image id -> (name, where it came from)."""
        with self._lock, self._told():
            rows = self._connection.execute(
                "SELECT images.id, name, source FROM images JOIN identities ON identity = identities.id"
            ).fetchall()
        return {int(number): (name, source) for number, name, source in rows}


def as_json(metadata: Mapping[str, Any]) -> str:
    """Metadata as they are kept. Raises `InputError` for what is no plain JSON, too long or too deep."""
    try:
        if _depth(metadata) > DEEPEST_METADATA:
            raise InputError(f"metadata may be nested {DEEPEST_METADATA} deep, but these go deeper.")
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"metadata must be plain JSON values ({error}).") from error
    if len(text) > LONGEST_METADATA:
        raise InputError(f"metadata takes {len(text):,} characters; at most {LONGEST_METADATA:,} are kept.")
    return text


def _depth(value: Any, so_far: int = 0) -> int:
    if so_far > DEEPEST_METADATA or not isinstance(value, Mapping | list | tuple):
        return so_far
    inside = value.values() if isinstance(value, Mapping) else value
    return max((_depth(one, so_far + 1) for one in inside), default=so_far + 1)


def moment() -> str:
    """UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
