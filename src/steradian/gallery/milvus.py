"""Keep a gallery in Milvus, for more images than one machine holds, with the methods of `Store`.

There are two collections and a small one for facts. Milvus has no transactions: an enrollment writes its images first
and then the identity that makes them count, so that every visible identity is complete. Two machines that enroll a
new name at the same moment create one identity, because its id is computed from the name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import InputError, NotFoundError, StorageError, UsageError
from steradian.gallery.image_numbers import ImageNumbers
from steradian.gallery.pool import Nearest, Pool
from steradian.gallery.search import Floats
from steradian.gallery.store import (
    Identity,
    Kept,
    Rows,
    Store,
    Who,
    as_json,
    as_source,
    checked_name,
    checked_vectors,
    moment,
)

PREFIX = "milvus:"
TOKEN = "STERADIAN_MILVUS_TOKEN"
FACTS = ("model", "dimensions", "thresholds", "rewrites", "token")
MOST_FOUND = 16_384
"""Maximum rows that Milvus returns for one query."""

AT_ONCE = 1000
TEXT = {"name": 1024, "source": 8192, "metadata": 65_535, "created": 40, "changed": 40, "value": 65_535}


class MilvusStore:
    """The enrolled identities and images, in Milvus.

    Attributes:
        path: the address, for messages.
        beside: the path beside which uploaded pictures are kept on this machine, see `Pictures`.

    Args:
        address: ``milvus:HOST:PORT/NAME`` (``milvus:https:HOST:PORT/NAME`` with TLS), or ``milvus:FILE.db`` for the one
            process of milvus-lite. The variable STERADIAN_MILVUS_TOKEN holds the token.
        model, dimensions: as for `Store`.

    Raises:
        UsageError: pymilvus is not installed.
        StorageError: Milvus is not reachable, or the gallery is missing or of another model.
    """

    def __init__(self, address: str, model: str | None = None, dimensions: int | None = None) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise UsageError("A gallery on Milvus needs pymilvus: pip install 'steradian[milvus]'.") from error
        self.path = Path(address)
        self._lock = threading.RLock()
        self._ids = ImageNumbers()
        uri, self._name = _address(address)
        self.beside = Path(f"milvus-{self._name}")
        with self._storage_errors():
            self._client = MilvusClient(uri=uri, token=os.environ.get(TOKEN, ""))
            if not self._client.has_collection(self._of("facts")):
                if model is None or dimensions is None:
                    raise StorageError(
                        f"There is no gallery {address}. Enroll somebody first: steradian enroll RUN FOLDER."
                    )
                self._create(model, dimensions)
        self.model: str | None = self.fact("model")
        self.dimensions = int(self.fact("dimensions"))
        if model is not None and self.model != model:
            raise StorageError(
                f"{address} holds vectors of another model ({self.model[:12]}…, not {model[:12]}…): they cannot be "
                "compared. Use that model, or another --gallery."
            )

    def _of(self, kind: str) -> str:
        return f"{self._name}_{kind}"

    def _create(self, model: str, dimensions: int) -> None:
        from pymilvus import DataType, MilvusClient

        text, integer = DataType.VARCHAR, DataType.INT64
        fields = {
            "images": {"id": integer, "identity": integer, "source": text, "created": text},
            "identities": {"id": integer, "name": text, "created": text, "changed": text, "metadata": text},
            "facts": {"id": integer, "value": text},
        }
        for kind in ("images", "identities", "facts"):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            for name, type_ in fields[kind].items():
                options = {"max_length": TEXT[name]} if type_ == text else {}
                schema.add_field(name, type_, is_primary=name == "id", **options)
            # Milvus requires a vector in every row; unused ones have the minimum length.
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions if kind == "images" else 2)
            index = self._client.prepare_index_params()
            index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
            self._client.create_collection(
                self._of(kind), schema=schema, index_params=index, consistency_level="Strong"
            )
        self.set_facts(
            model=model, dimensions=str(dimensions), thresholds="[]", rewrites="0", token=secrets.token_hex(16)
        )

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        from pymilvus.exceptions import MilvusException

        try:
            with self._lock:
                yield
        except MilvusException as error:
            raise StorageError(f"The gallery {self.path} cannot be used: {error.message or error}.") from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing: each query reads the state of its moment."""
        yield

    def _query(self, kind: str, condition: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        with self._storage_errors():
            iterator = self._client.query_iterator(
                self._of(kind), filter=condition, output_fields=list(fields), batch_size=AT_ONCE
            )
            while batch := iterator.next():
                rows += batch
            iterator.close()
        return rows

    def fact(self, name: str) -> str:
        """Return a value of the facts."""
        rows = self._query("facts", f"id == {FACTS.index(name)}", ["value"])
        if not rows:
            raise StorageError(f"{self.path} is damaged: its value of {name!r} is missing.")
        return str(rows[0]["value"])

    def set_facts(self, **facts: str) -> None:
        """Write facts by name."""
        rows = [{"id": FACTS.index(name), "value": value, "vector": [0.0, 0.0]} for name, value in facts.items()]
        with self._storage_errors():
            self._client.upsert(self._of("facts"), rows)

    def token(self) -> str:
        """See `Store.token`."""
        return self.fact("token")

    def _rewritten(self) -> None:
        self.set_facts(rewrites=str(int(self.fact("rewrites")) + 1))

    def add(
        self,
        name: str,
        vectors: NDArray[np.float32],
        sources: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """See `Store.add`."""
        return self.add_many([(name, vectors, sources, metadata)])[0]

    def add_many(
        self,
        people: Sequence[tuple[str, NDArray[np.float32], Sequence[str], Mapping[str, Any] | None]],
    ) -> list[int]:
        """Add each of ``people``, see `add`. Images are written before identities; there is no common transaction."""
        now, images, identities, numbers = moment(), [], [], []
        for name, vectors, sources, data in people:
            known_as = checked_name(name)
            checked_vectors(known_as, vectors, self.dimensions)
            number, old = self._number_for(known_as)
            merged = as_json({**(json.loads(old["metadata"]) if old else {}), **(data or {})})
            numbers.append(number)
            identities.append(
                {
                    "id": number,
                    "name": known_as,
                    "created": old["created"] if old else now,
                    "changed": now,
                    "metadata": merged,
                    "vector": [0.0, 0.0],
                }
            )
            images += [
                {
                    "id": self._ids.next(),
                    "identity": number,
                    "source": as_source(source),
                    "created": now,
                    "vector": vector.tolist(),
                }
                for vector, source in zip(vectors.astype(np.float32), sources, strict=True)
            ]
        with self._storage_errors():
            for start in range(0, len(images), AT_ONCE):
                self._client.insert(self._of("images"), images[start : start + AT_ONCE])
            for start in range(0, len(identities), AT_ONCE):
                self._client.upsert(self._of("identities"), identities[start : start + AT_ONCE])
        return numbers

    def _number_for(self, name: str) -> tuple[int, dict[str, Any] | None]:
        """Return the id and the row of ``name``; if it is new, its future id and None."""
        rows = self._query("identities", f"name == {_quoted(name)}", ["id", "created", "metadata"])
        if rows:
            return int(rows[0]["id"]), rows[0]
        # An identity that once had this name may still use the id.
        for attempt in range(100):
            content = hashlib.sha256(f"{attempt} {name}".encode()).digest()
            number = int.from_bytes(content[:6], "big") + 1
            if not self._query("identities", f"id == {number}", ["id"]):
                return number, None
        raise StorageError(f"{self.path}: no id is free for {name!r}. Choose another name.")

    def number(self, who: Who) -> int:
        """See `Store.number`."""
        condition = (
            f"name == {_quoted(unicodedata.normalize('NFC', who).strip())}" if isinstance(who, str) else f"id == {who}"
        )
        rows = self._query("identities", condition, ["id"])
        if not rows:
            called = f"called {who!r}" if isinstance(who, str) else f"with the number {who}"
            raise NotFoundError(f"nobody {called} is enrolled in {self.path}.")
        return int(rows[0]["id"])

    def remove(self, who: Who) -> list[str]:
        """See `Store.remove`. The identity is deleted first; from then on its images do not count."""
        number = self.number(who)
        sources = [image.source for image in self.images_of(number)]
        with self._storage_errors():
            self._client.delete(self._of("identities"), filter=f"id == {number}")
            self._client.delete(self._of("images"), filter=f"identity == {number}")
        self._rewritten()
        return sources

    def rename(self, who: Who, new: str) -> None:
        """See `Store.rename`."""
        self.edit(who, name=new)

    def edit(self, who: Who, *, name: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """See `Store.edit`."""
        number, old = self.identity(who)
        new_name = checked_name(name) if name is not None else old.name
        metadata_json = as_json(metadata if metadata is not None else old.metadata)
        taken = self._query("identities", f"name == {_quoted(new_name)}", ["id"])
        if taken and int(taken[0]["id"]) != number:
            raise InputError(f"{new_name!r} is already taken. To combine the two: steradian gallery merge.")
        row = {"id": number, "name": new_name, "created": old.created, "changed": moment(), "metadata": metadata_json}
        with self._storage_errors():
            self._client.upsert(self._of("identities"), [{**row, "vector": [0.0, 0.0]}])
        self._rewritten()

    def merge(self, who: Who, into: Who) -> None:
        """See `Store.merge`."""
        number, other = self.number(who), self.number(into)
        if number == other:
            raise InputError(f"{who!r} cannot be merged into itself.")
        fields = ["id", "source", "created", "vector"]
        images = [{**row, "identity": other} for row in self._query("images", f"identity == {number}", fields)]
        with self._storage_errors():
            for start in range(0, len(images), AT_ONCE):
                self._client.upsert(self._of("images"), images[start : start + AT_ONCE])
            self._client.delete(self._of("identities"), filter=f"id == {number}")
        self._rewritten()

    def __len__(self) -> int:
        return self._count("identities")

    def _count(self, kind: str, condition: str = "") -> int:
        with self._storage_errors():
            rows = self._client.query(self._of(kind), filter=condition, output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def identity(self, who: Who) -> tuple[int, Identity]:
        """See `Store.identity`."""
        return self._identities(f"id == {self.number(who)}")[0]

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        """See `Store.identities`."""
        text = unicodedata.normalize("NFC", containing).casefold()
        matches = [
            (number, identity)
            for number, identity in self._identities("id > 0")
            if text in identity.name.casefold() and identity.name > after
        ]
        return matches if limit < 0 else matches[:limit]

    def _identities(self, condition: str) -> list[tuple[int, Identity]]:
        fields = ["id", "name", "created", "changed", "metadata"]
        rows = sorted(self._query("identities", condition, fields), key=lambda row: row["name"])
        numbers = [int(row["id"]) for row in rows]
        counts: dict[int, int] = {}
        for start in range(0, len(numbers), AT_ONCE):
            for image in self._query("images", f"identity in {numbers[start : start + AT_ONCE]}", ["identity"]):
                counts[image["identity"]] = counts.get(image["identity"], 0) + 1
        return [
            (
                int(row["id"]),
                Identity(
                    row["name"], counts.get(row["id"], 0), row["created"], row["changed"], json.loads(row["metadata"])
                ),
            )
            for row in rows
        ]

    def names(self, after: int = 0) -> dict[int, str]:
        """Return id -> name of identities with an id above ``after``."""
        return {int(row["id"]): row["name"] for row in self._query("identities", f"id > {after}", ["id", "name"])}

    def images_of(self, who: Who) -> list[Kept]:
        """See `Store.images_of`."""
        return self._images(f"identity == {self.number(who)}")

    def image(self, number: int) -> Kept:
        """See `Store.image`."""
        images = self._images(f"id == {number}")
        if not images:
            raise NotFoundError(f"there is no image {number} in {self.path}.")
        return images[0]

    def _images(self, condition: str) -> list[Kept]:
        rows = self._query("images", condition, ["id", "identity", "source", "created"])
        images = [Kept(int(row["id"]), int(row["identity"]), row["source"], row["created"]) for row in rows]
        return sorted(images, key=lambda image: image.id)

    def sources(self) -> dict[int, tuple[str, str]]:
        """See `Store.sources`."""
        names = self.names()
        rows = self._query("images", "id > 0", ["id", "identity", "source"])
        return {int(row["id"]): (names[row["identity"]], row["source"]) for row in rows if row["identity"] in names}

    def rows(self) -> Rows:
        """Fetch every image."""
        names = self.names()
        records = self._query("images", "id > 0", ["id", "identity", "vector"])
        rows = sorted((row for row in records if row["identity"] in names), key=lambda row: row["id"])
        vectors = np.array([row["vector"] for row in rows], dtype=np.float32).reshape(-1, self.dimensions)
        numbers = np.array([(row["id"], row["identity"]) for row in rows], dtype=np.int64).reshape(-1, 2)
        return Rows(numbers[:, 0], numbers[:, 1], vectors)

    def pool(self, identities: Sequence[int] | None = None) -> Pool:
        """Return a pool of every image, or of those of ``identities``, searched by Milvus."""
        names: dict[int, str] = {}
        condition = "" if identities is None else f"identity in {sorted(identities)}"

        def search(queries: Floats, k: int) -> list[Nearest]:
            with self._storage_errors():
                results = self._client.search(
                    self._of("images"),
                    data=queries.tolist(),
                    limit=min(k, MOST_FOUND),
                    output_fields=["identity"],
                    filter=condition,
                )
            owners = {hit["entity"]["identity"] for hits in results for hit in hits} - names.keys()
            if owners:
                rows = self._query("identities", f"id in {sorted(owners)}", ["id", "name"])
                names.update({int(row["id"]): row["name"] for row in rows})
            answers = []
            for hits in results:
                # Skip images whose identity is being removed or is not written yet.
                valid = [hit for hit in hits if hit["entity"]["identity"] in names]
                scores = np.array([hit["distance"] for hit in valid], dtype=np.float32)
                identity_ids = np.array([hit["entity"]["identity"] for hit in valid], dtype=np.int64)
                answers.append(Nearest(scores, identity_ids, np.array([hit["id"] for hit in valid], dtype=np.int64)))
            return answers

        identity_count = len(self) if identities is None else len(identities)
        count = min(self._count("images", condition), MOST_FOUND) if identity_count else 0
        return Pool(count, identity_count, names, search)


def store_at(path: str | Path, model: str | None = None, dimensions: int | None = None) -> Store | MilvusStore:
    """Open the record in a file, or in Milvus if ``path`` begins with `PREFIX`."""
    expected = (model, dimensions)
    return MilvusStore(str(path), *expected) if str(path).startswith(PREFIX) else Store(Path(path), *expected)


def _address(location: str) -> tuple[str, str]:
    """Split ``milvus:…`` into (address, prefix of the collections)."""
    given = location.removeprefix(PREFIX)
    if given.endswith(".db"):
        return given, "steradian"
    scheme, address = ("https", given.removeprefix("https:")) if given.startswith("https:") else ("http", given)
    host, slash, name = address.partition("/")
    if not host or not slash or not name.replace("_", "a").isalnum() or not name.isascii():
        raise UsageError(f"{location} is not the address of a gallery: give milvus:HOST:PORT/NAME or milvus:FILE.db.")
    return f"{scheme}://{host}", name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
