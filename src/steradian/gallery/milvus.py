"""A gallery on Milvus, for more images than one machine holds: the same verbs as `Store`, searched where it lies.

Two collections and a small one for facts. Milvus has no transactions: an enrollment writes its images first and then
the identity that makes them count, so that what is there at all is whole. Two machines that enroll a new name at the
same moment enroll one identity, because its number comes from the name.
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

from steradian.errors import InputError, MissingError, StorageError, UsageError
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
"""Rows that Milvus gives for one question."""

AT_ONCE = 1000
TEXT = {"name": 1024, "source": 8192, "metadata": 65_535, "created": 40, "changed": 40, "value": 65_535}


class MilvusStore:
    """Who is enrolled, in Milvus.

    Attributes:
        path: the place, for messages.
        beside: where uploaded pictures are kept on this machine, see `Pictures`.

    Args:
        place: ``milvus:HOST:PORT/NAME`` (``milvus:https:HOST:PORT/NAME`` with TLS), or ``milvus:FILE.db`` for the one
            process of milvus-lite. The variable STERADIAN_MILVUS_TOKEN holds the token.
        model, dimensions: as for `Store`.

    Raises:
        UsageError: pymilvus is not installed.
        StorageError: not reached, no gallery, or one of another model.
    """

    def __init__(self, place: str, model: str | None = None, dimensions: int | None = None) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise UsageError("A gallery on Milvus needs pymilvus: pip install 'steradian[milvus]'.") from error
        self.path = Path(place)
        self._lock = threading.RLock()
        self._ids = ImageNumbers()
        address, self._name = _address(place)
        self.beside = Path(f"milvus-{self._name}")
        with self._told():
            self._client = MilvusClient(uri=address, token=os.environ.get(TOKEN, ""))
            if not self._client.has_collection(self._of("facts")):
                if model is None or dimensions is None:
                    raise StorageError(
                        f"There is no gallery {place}. Enroll somebody first: steradian enroll RUN FOLDER."
                    )
                self._create(model, dimensions)
        self.model: str | None = self.fact("model")
        self.dimensions = int(self.fact("dimensions"))
        if model is not None and self.model != model:
            raise StorageError(
                f"{place} holds vectors of another model ({self.model[:12]}…, not {model[:12]}…): they cannot be "
                "compared. Use that model, or another --gallery."
            )

    def _of(self, kind: str) -> str:
        return f"{self._name}_{kind}"

    def _create(self, model: str, dimensions: int) -> None:
        from pymilvus import DataType, MilvusClient

        text, whole = DataType.VARCHAR, DataType.INT64
        fields = {
            "images": {"id": whole, "identity": whole, "source": text, "created": text},
            "identities": {"id": whole, "name": text, "created": text, "changed": text, "metadata": text},
            "facts": {"id": whole, "value": text},
        }
        for kind in ("images", "identities", "facts"):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            for name, type_ in fields[kind].items():
                longest = {"max_length": TEXT[name]} if type_ == text else {}
                schema.add_field(name, type_, is_primary=name == "id", **longest)
            # Milvus wants a vector of every row; those that mean nothing are as short as it allows.
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
    def _told(self) -> Iterator[None]:
        from pymilvus.exceptions import MilvusException

        try:
            with self._lock:
                yield
        except MilvusException as error:
            raise StorageError(f"The gallery {self.path} cannot be used: {error.message or error}.") from error

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing is held: each question is answered as things are then."""
        yield

    def _query(self, kind: str, which: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with self._told():
            rows = self._client.query_iterator(
                self._of(kind), filter=which, output_fields=list(fields), batch_size=AT_ONCE
            )
            while some := rows.next():
                found += some
            rows.close()
        return found

    def fact(self, name: str) -> str:
        """A value of the facts."""
        found = self._query("facts", f"id == {FACTS.index(name)}", ["value"])
        if not found:
            raise StorageError(f"{self.path} is damaged: it does not say its {name}.")
        return str(found[0]["value"])

    def set_facts(self, **facts: str) -> None:
        """Write facts by name."""
        rows = [{"id": FACTS.index(name), "value": value, "vector": [0.0, 0.0]} for name, value in facts.items()]
        with self._told():
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
        """`add` for each of ``people``; each of them is whole, though not all of them together."""
        when, images, identities, numbers = moment(), [], [], []
        for name, vectors, sources, data in people:
            known_as = checked_name(name)
            checked_vectors(known_as, vectors, self.dimensions)
            number, old = self._place_of(known_as)
            joined = as_json({**(json.loads(old["metadata"]) if old else {}), **(data or {})})
            numbers.append(number)
            identities.append(
                {
                    "id": number,
                    "name": known_as,
                    "created": old["created"] if old else when,
                    "changed": when,
                    "metadata": joined,
                    "vector": [0.0, 0.0],
                }
            )
            images += [
                {
                    "id": self._ids.next(),
                    "identity": number,
                    "source": as_source(source),
                    "created": when,
                    "vector": vector.tolist(),
                }
                for vector, source in zip(vectors.astype(np.float32), sources, strict=True)
            ]
        with self._told():
            for start in range(0, len(images), AT_ONCE):
                self._client.insert(self._of("images"), images[start : start + AT_ONCE])
            for start in range(0, len(identities), AT_ONCE):
                self._client.upsert(self._of("identities"), identities[start : start + AT_ONCE])
        return numbers

    def _place_of(self, name: str) -> tuple[int, dict[str, Any] | None]:
        """The number of ``name`` and its row, or the number that it will have."""
        found = self._query("identities", f"name == {_quoted(name)}", ["id", "created", "metadata"])
        if found:
            return int(found[0]["id"]), found[0]
        # A number may be in use by somebody who was called so once.
        for attempt in range(100):
            content = hashlib.sha256(f"{attempt} {name}".encode()).digest()
            number = int.from_bytes(content[:6], "big") + 1
            if not self._query("identities", f"id == {number}", ["id"]):
                return number, None
        raise StorageError(f"{self.path}: no number is free for {name!r}.")

    def number(self, who: Who) -> int:
        """See `Store.number`."""
        which = (
            f"name == {_quoted(unicodedata.normalize('NFC', who).strip())}" if isinstance(who, str) else f"id == {who}"
        )
        found = self._query("identities", which, ["id"])
        if not found:
            called = f"called {who!r}" if isinstance(who, str) else f"with the number {who}"
            raise MissingError(f"nobody {called} is enrolled in {self.path}.")
        return int(found[0]["id"])

    def remove(self, who: Who) -> list[str]:
        """See `Store.remove`. The identity goes first: from then on its images count no more."""
        number = self.number(who)
        sources = [image.source for image in self.images_of(number)]
        with self._told():
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
        called = checked_name(name) if name is not None else old.name
        facts = as_json(metadata if metadata is not None else old.metadata)
        taken = self._query("identities", f"name == {_quoted(called)}", ["id"])
        if taken and int(taken[0]["id"]) != number:
            raise InputError(f"somebody is called {called!r} already. To make one of both: steradian gallery merge.")
        row = {"id": number, "name": called, "created": old.created, "changed": moment(), "metadata": facts}
        with self._told():
            self._client.upsert(self._of("identities"), [{**row, "vector": [0.0, 0.0]}])
        self._rewritten()

    def merge(self, who: Who, into: Who) -> None:
        """See `Store.merge`."""
        number, other = self.number(who), self.number(into)
        if number == other:
            raise InputError(f"{who!r} cannot be merged into itself.")
        fields = ["id", "source", "created", "vector"]
        images = [{**row, "identity": other} for row in self._query("images", f"identity == {number}", fields)]
        with self._told():
            for start in range(0, len(images), AT_ONCE):
                self._client.upsert(self._of("images"), images[start : start + AT_ONCE])
            self._client.delete(self._of("identities"), filter=f"id == {number}")
        self._rewritten()

    def __len__(self) -> int:
        return self._count("identities")

    def _count(self, kind: str, which: str = "") -> int:
        with self._told():
            found = self._client.query(self._of(kind), filter=which, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def identity(self, who: Who) -> tuple[int, Identity]:
        """See `Store.identity`."""
        return self._identities(f"id == {self.number(who)}")[0]

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        """See `Store.identities`."""
        wanted = unicodedata.normalize("NFC", containing).casefold()
        found = [
            (number, one)
            for number, one in self._identities("id > 0")
            if wanted in one.name.casefold() and one.name > after
        ]
        return found if limit < 0 else found[:limit]

    def _identities(self, which: str) -> list[tuple[int, Identity]]:
        fields = ["id", "name", "created", "changed", "metadata"]
        rows = sorted(self._query("identities", which, fields), key=lambda row: row["name"])
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
        """Of the identities with a number above ``after``."""
        return {int(row["id"]): row["name"] for row in self._query("identities", f"id > {after}", ["id", "name"])}

    def images_of(self, who: Who) -> list[Kept]:
        """See `Store.images_of`."""
        return self._images(f"identity == {self.number(who)}")

    def image(self, number: int) -> Kept:
        """See `Store.image`."""
        found = self._images(f"id == {number}")
        if not found:
            raise MissingError(f"there is no image {number} in {self.path}.")
        return found[0]

    def _images(self, which: str) -> list[Kept]:
        rows = self._query("images", which, ["id", "identity", "source", "created"])
        kept = [Kept(int(row["id"]), int(row["identity"]), row["source"], row["created"]) for row in rows]
        return sorted(kept, key=lambda image: image.id)

    def sources(self) -> dict[int, tuple[str, str]]:
        """See `Store.sources`."""
        names = self.names()
        rows = self._query("images", "id > 0", ["id", "identity", "source"])
        return {int(row["id"]): (names[row["identity"]], row["source"]) for row in rows if row["identity"] in names}

    def rows(self) -> Rows:
        """Every image, brought here."""
        names = self.names()
        found = self._query("images", "id > 0", ["id", "identity", "vector"])
        rows = sorted((row for row in found if row["identity"] in names), key=lambda row: row["id"])
        vectors = np.array([row["vector"] for row in rows], dtype=np.float32).reshape(-1, self.dimensions)
        numbers = np.array([(row["id"], row["identity"]) for row in rows], dtype=np.int64).reshape(-1, 2)
        return Rows(numbers[:, 0], numbers[:, 1], vectors)

    def pool(self, wanted: Sequence[int] | None = None) -> Pool:
        """Every image, or those of the identities ``wanted``, searched by Milvus."""
        names: dict[int, str] = {}
        which = "" if wanted is None else f"identity in {sorted(wanted)}"

        def search(queries: Floats, k: int) -> list[Nearest]:
            with self._told():
                found = self._client.search(
                    self._of("images"),
                    data=queries.tolist(),
                    limit=min(k, MOST_FOUND),
                    output_fields=["identity"],
                    filter=which,
                )
            owners = {hit["entity"]["identity"] for hits in found for hit in hits} - names.keys()
            if owners:
                rows = self._query("identities", f"id in {sorted(owners)}", ["id", "name"])
                names.update({int(row["id"]): row["name"] for row in rows})
            answers = []
            for hits in found:
                # Images of somebody who goes at this moment, or is not yet there, count for nobody.
                kept = [hit for hit in hits if hit["entity"]["identity"] in names]
                scores = np.array([hit["distance"] for hit in kept], dtype=np.float32)
                of = np.array([hit["entity"]["identity"] for hit in kept], dtype=np.int64)
                answers.append(Nearest(scores, of, np.array([hit["id"] for hit in kept], dtype=np.int64)))
            return answers

        owned = len(self) if wanted is None else len(wanted)
        count = min(self._count("images", which), MOST_FOUND) if owned else 0
        return Pool(count, owned, names, search)


def store_at(place: str | Path, model: str | None = None, dimensions: int | None = None) -> Store | MilvusStore:
    """The record in a file, or in Milvus where ``place`` begins with `PREFIX`."""
    known = (model, dimensions)
    return MilvusStore(str(place), *known) if str(place).startswith(PREFIX) else Store(Path(place), *known)


def _address(place: str) -> tuple[str, str]:
    """(address, name of the collections) of ``milvus:…``."""
    told = place.removeprefix(PREFIX)
    if told.endswith(".db"):
        return told, "steradian"
    kind, found = ("https", told.removeprefix("https:")) if told.startswith("https:") else ("http", told)
    host, slash, name = found.partition("/")
    if not host or not slash or not name.replace("_", "a").isalnum() or not name.isascii():
        raise UsageError(f"{place} names no gallery: expected milvus:HOST:PORT/NAME or milvus:FILE.db.")
    return f"{kind}://{host}", name


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
