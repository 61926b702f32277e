"""A gallery in one SQLite file."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import StorageError
from steradian.gallery.backends.sqlite_file import SqliteFile
from steradian.gallery.records import Identity, IdentityRef, ImageRecord, Rows, moment


class SqliteBackend(SqliteFile):
    """A `Backend` in a `SqliteFile`. The tables keep the names of the first version of the format."""

    def find(self, ref: IdentityRef) -> int | None:
        column = "name" if isinstance(ref, str) else "id"
        rows = self._select(f"SELECT id FROM identities WHERE {column} = ?", ref)
        return int(rows[0][0]) if rows else None

    def metadata_text(self, number: int) -> str:
        return str(self._select("SELECT metadata FROM identities WHERE id = ?", number)[0][0])

    def insert_identity(self, name: str, metadata: str) -> int:
        now = moment()
        cursor = self._connection.execute(
            "INSERT INTO identities (name, created, changed, metadata) VALUES (?, ?, ?, ?)", (name, now, now, metadata)
        )
        return int(cursor.lastrowid or 0)

    def update_identity(self, number: int, *, name: str | None = None, metadata: str | None = None) -> None:
        run = self._connection.execute
        if name is not None:
            run("UPDATE identities SET name = ? WHERE id = ?", (name, number))
            self._rewritten()
        if metadata is not None:
            run("UPDATE identities SET metadata = ? WHERE id = ?", (metadata, number))
        run("UPDATE identities SET changed = ? WHERE id = ?", (moment(), number))

    def delete_identity(self, number: int) -> None:
        self._connection.execute("DELETE FROM images WHERE identity = ?", (number,))
        self._connection.execute("DELETE FROM identities WHERE id = ?", (number,))
        self._rewritten()

    def insert_images(self, number: int, vectors: NDArray[np.float32], sources: Sequence[str]) -> list[int]:
        now = moment()
        self._connection.executemany(
            "INSERT INTO images (identity, vector, source, created) VALUES (?, ?, ?, ?)",
            ((number, row.tobytes(), source, now) for row, source in zip(vectors.astype("<f4"), sources, strict=True)),
        )
        # Nobody else writes within this transaction, so the numbers are consecutive.
        last = self._select("SELECT max(seq) FROM sqlite_sequence WHERE name = 'images'")[0][0] or 0
        return list(range(int(last) - len(vectors) + 1, int(last) + 1))

    def move_images(self, images: Sequence[int], into: int) -> None:
        self._connection.executemany("UPDATE images SET identity = ? WHERE id = ?", ((into, one) for one in images))
        self._rewritten()

    def delete_images(self, images: Sequence[int]) -> None:
        self._connection.executemany("DELETE FROM images WHERE id = ?", ((one,) for one in images))
        self._rewritten()

    def remote_search(self, identities: Sequence[int] | None) -> None:
        return None

    def replace_vectors(
        self, model: str, vectors: Mapping[int, NDArray[np.float32]], dimensions: int, seen: Collection[int]
    ) -> None:
        """Replace all vectors by those of another model; remove images of ``seen`` that have none in ``vectors``."""
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
            self.set_setting("model", model)
            self.set_setting("dimensions", str(dimensions))
            self.set_setting("thresholds", "[]")
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES ('token', ?)", (secrets.token_hex(16),))
            self._rewritten()
        self.model, self.dimensions = model, dimensions

    def _rewritten(self) -> None:
        self._connection.execute("UPDATE facts SET value = value + 1 WHERE name = 'rewrites'")

    def __len__(self) -> int:
        return int(self._select("SELECT count(*) FROM identities")[0][0])

    def identity(self, number: int) -> Identity:
        return self._identities("WHERE i.id = ?", number)[0][1]

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        condition = "WHERE instr(folded(name), ?) AND name > ? ORDER BY name LIMIT ?"
        return self._identities(condition, containing, after, limit)

    def _identities(self, condition: str, *parameters: Any) -> list[tuple[int, Identity]]:
        rows = self._select(
            "SELECT i.id, name, created, changed, metadata, (SELECT count(*) FROM images WHERE identity = i.id) "
            f"FROM identities i {condition}",
            *parameters,
        )
        return [
            (int(number), Identity(name, int(images), created, changed, json.loads(metadata)))
            for number, name, created, changed, metadata, images in rows
        ]

    def metadata(self) -> dict[int, str]:
        return {int(number): text for number, text in self._select("SELECT id, metadata FROM identities")}

    def version(self) -> tuple[int, int, int]:
        # The first number changes when other connections write, the second when this one does; a file that was opened
        # again counts anew.
        with self._lock:
            by_others = self._select("PRAGMA data_version")[0][0]
            return id(self._connection), int(by_others), self._connection.total_changes

    def origins(self, number: int) -> dict[int, str]:
        if not self._select("SELECT name FROM sqlite_master WHERE name = 'origins'"):
            return {}
        rows = self._select(
            "SELECT image, state FROM origins JOIN images ON image = images.id WHERE identity = ?", number
        )
        return {int(image): state for image, state in rows}

    def set_origins(self, origins: Mapping[int, str]) -> None:
        # A table of its own, made when it is needed, so that earlier versions read the file as before.
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS origins "
            "(image INTEGER PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE, state TEXT NOT NULL)"
        )
        # Another process may have removed an image meanwhile.
        self._connection.executemany(
            "INSERT OR REPLACE INTO origins SELECT id, ? FROM images WHERE id = ?",
            ((state, image) for image, state in origins.items()),
        )

    def names(self, after: int = 0) -> dict[int, str]:
        rows = self._select("SELECT id, name FROM identities WHERE id > ?", after)
        return {int(number): name for number, name in rows}

    def images_of(self, number: int) -> list[ImageRecord]:
        return self._images("identity = ? ORDER BY id", number)

    def first_images(self, numbers: Sequence[int]) -> dict[int, int]:
        marks = ", ".join("?" * len(numbers))
        rows = self._select(f"SELECT identity, min(id) FROM images WHERE identity IN ({marks}) GROUP BY 1", *numbers)
        return {int(identity): int(image) for identity, image in rows}

    def image(self, number: int) -> ImageRecord | None:
        images = self._images("id = ?", number)
        return images[0] if images else None

    def _images(self, condition: str, value: int) -> list[ImageRecord]:
        rows = self._select(f"SELECT id, identity, source, created FROM images WHERE {condition}", value)
        return [ImageRecord(int(number), int(identity), source, created) for number, identity, source, created in rows]

    def token(self) -> str:
        rows = self._select("SELECT value FROM facts WHERE name = 'token'")
        return str(rows[0][0]) if rows else ""

    def state(self) -> tuple[int, int]:
        last = self._select("SELECT max(id) FROM images")[0][0]
        return int(self.setting("rewrites")), int(last or 0)

    def rows(self, after: int = 0) -> Rows:
        records = self._select("SELECT id, identity, vector FROM images WHERE id > ? ORDER BY id", after)
        ids, identities, contents = zip(*records, strict=True) if records else ((), (), ())
        size = 4 * self.dimensions
        if set(map(len, contents)) - {size}:
            first = next(number for number, _, vector in records if len(vector) != size)
            raise StorageError(f"{self.path} is damaged: image {first} has no vector of {self.dimensions} dimensions.")
        vectors = np.frombuffer(b"".join(contents), dtype="<f4").reshape(-1, self.dimensions)
        owners = np.array(identities, dtype=np.int64)
        return Rows(np.array(ids, dtype=np.int64), owners, vectors.astype(np.float32, copy=False))

    def sources(self) -> dict[int, tuple[str, str]]:
        rows = self._select("SELECT images.id, name, source FROM images JOIN identities ON identity = identities.id")
        return {int(number): (name, source) for number, name, source in rows}
