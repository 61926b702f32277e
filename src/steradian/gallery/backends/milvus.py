"""Keep a gallery in Milvus, for more images than one machine holds, as a `Backend`.

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
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steradian.errors import StorageError, UsageError
from steradian.extras import install
from steradian.gallery.records import Identity, IdentityRef, ImageRecord, Nearest, RemoteSearch, Rows, moment

PREFIX = "milvus:"
TOKEN = "STERADIAN_MILVUS_TOKEN"
SETTINGS = ("model", "dimensions", "thresholds", "rewrites", "token")
MOST_FOUND = 16_384
"""Maximum rows that Milvus returns for one query."""

AT_ONCE = 1000
TEXT = {"name": 1024, "source": 8192, "metadata": 65_535, "created": 40, "changed": 40, "value": 65_535}


class ImageNumbers:
    """Image ids that rise, differ between machines, and are exact in JSON: second, machine, counter."""

    def __init__(self) -> None:
        self._machine, self._lock = secrets.randbits(12), threading.Lock()
        self._second, self._counter = 0, 0

    def next(self) -> int:
        """Return a new id. Two machines share their part with chance 1/4096; then same second and counter collide."""
        with self._lock:
            second = max(int(time.time()), self._second)
            self._counter = self._counter + 1 if second == self._second else 0
            if self._counter == 2**10:
                second, self._counter = second + 1, 0
            self._second = second
            return second << 22 | self._machine << 10 | self._counter


class MilvusBackend:
    """The enrolled identities and images, in Milvus: a `Backend`. Needs pymilvus.

    Args:
        address: ``milvus:HOST:PORT/NAME`` (``milvus:https:HOST:PORT/NAME`` with TLS), or ``milvus:FILE.db`` for the one
            process of milvus-lite. The variable STERADIAN_MILVUS_TOKEN holds the token.
    """

    def __init__(self, address: str, model: str | None = None, dimensions: int | None = None) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise UsageError(f"A gallery on Milvus needs pymilvus: {install('milvus')}") from error
        self.path = Path(address)
        self._lock = threading.RLock()
        self._ids = ImageNumbers()
        self._images_waiting: list[dict[str, Any]] = []
        self._identities_waiting: dict[int, dict[str, Any]] = {}
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
        self.model = self.setting("model")
        self.dimensions = int(self.setting("dimensions"))
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
        self._write_settings(
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

    def check(self) -> None:
        """Do nothing: each query fails if the server is gone."""

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: each query reads the state of its moment."""
        return contextlib.nullcontext()

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

    def setting(self, name: str) -> str:
        """Return a value that is kept with the gallery."""
        rows = self._query("facts", f"id == {SETTINGS.index(name)}", ["value"])
        if not rows:
            raise StorageError(f"{self.path} is damaged: its value of {name!r} is missing.")
        return str(rows[0]["value"])

    def set_setting(self, name: str, value: str) -> None:
        self._write_settings(**{name: value})

    def _write_settings(self, **settings: str) -> None:
        rows = [{"id": SETTINGS.index(name), "value": value, "vector": [0.0, 0.0]} for name, value in settings.items()]
        with self._storage_errors():
            self._client.upsert(self._of("facts"), rows)

    def token(self) -> str:
        return self.setting("token")

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Collect writes and send them at the end, images first: an identity that is visible is complete."""
        with self._lock:
            self._images_waiting, self._identities_waiting = [], {}
            yield
            with self._storage_errors():
                for start in range(0, len(self._images_waiting), AT_ONCE):
                    self._client.insert(self._of("images"), self._images_waiting[start : start + AT_ONCE])
                identities = list(self._identities_waiting.values())
                for start in range(0, len(identities), AT_ONCE):
                    self._client.upsert(self._of("identities"), identities[start : start + AT_ONCE])

    def _rewritten(self) -> None:
        self._write_settings(rewrites=str(int(self.setting("rewrites")) + 1))

    def find(self, ref: IdentityRef) -> int | None:
        for number, row in self._identities_waiting.items():
            if ref in (number, row["name"]):
                return number
        condition = f"name == {json.dumps(ref, ensure_ascii=False)}" if isinstance(ref, str) else f"id == {ref}"
        rows = self._query("identities", condition, ["id"])
        return int(rows[0]["id"]) if rows else None

    def metadata_text(self, number: int) -> str:
        return str(self._identity_row(number)["metadata"])

    def _identity_row(self, number: int) -> dict[str, Any]:
        if number in self._identities_waiting:
            return self._identities_waiting[number]
        rows = self._query("identities", f"id == {number}", ["id", "name", "created", "changed", "metadata"])
        return {**rows[0], "vector": [0.0, 0.0]}

    def insert_identity(self, name: str, metadata: str) -> int:
        number, now = self._free_number(name), moment()
        row = {"id": number, "name": name, "created": now, "changed": now, "metadata": metadata}
        self._identities_waiting[number] = {**row, "vector": [0.0, 0.0]}
        return number

    def _free_number(self, name: str) -> int:
        """Return the number of a new identity, computed from its name: two machines that enroll it make one of it."""
        # A number may be in use by somebody who had this name once.
        for attempt in range(100):
            content = hashlib.sha256(f"{attempt} {name}".encode()).digest()
            number = int.from_bytes(content[:6], "big") + 1
            if not self._query("identities", f"id == {number}", ["id"]) and number not in self._identities_waiting:
                return number
        raise StorageError(f"{self.path}: no number is free for {name!r}.")

    def update_identity(self, number: int, *, name: str | None = None, metadata: str | None = None) -> None:
        row = self._identity_row(number)
        changes = {"name": name, "metadata": metadata, "changed": moment()}
        given = {key: value for key, value in changes.items() if value is not None}
        self._identities_waiting[number] = {**row, **given}
        if name is not None:
            self._rewritten()

    def delete_identity(self, number: int) -> None:
        """Remove the identity first: from then on its images count no more."""
        self._identities_waiting.pop(number, None)
        with self._storage_errors():
            self._client.delete(self._of("identities"), filter=f"id == {number}")
            self._client.delete(self._of("images"), filter=f"identity == {number}")
        self._rewritten()

    def insert_images(self, number: int, vectors: NDArray[np.float32], sources: Sequence[str]) -> list[int]:
        now = moment()
        rows = [
            {"id": self._ids.next(), "identity": number, "source": source, "created": now, "vector": vector.tolist()}
            for vector, source in zip(vectors.astype(np.float32), sources, strict=True)
        ]
        self._images_waiting += rows
        return [int(row["id"]) for row in rows]

    def move_images(self, images: Sequence[int], into: int) -> None:
        fields = ["id", "source", "created", "vector"]
        for start in range(0, len(images), AT_ONCE):
            rows = self._query("images", f"id in {list(images[start : start + AT_ONCE])}", fields)
            with self._storage_errors():
                self._client.upsert(self._of("images"), [{**row, "identity": into} for row in rows])
        self._rewritten()

    def delete_images(self, images: Sequence[int]) -> None:
        with self._storage_errors():
            for start in range(0, len(images), AT_ONCE):
                self._client.delete(self._of("images"), filter=f"id in {list(images[start : start + AT_ONCE])}")
        self._rewritten()

    def state(self) -> None:
        return None

    def __len__(self) -> int:
        return self._count("identities")

    def _count(self, kind: str, condition: str = "") -> int:
        with self._storage_errors():
            rows = self._client.query(self._of(kind), filter=condition, output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def identity(self, number: int) -> Identity:
        return self._identities(f"id == {number}")[0][1]

    def identities(self, containing: str = "", after: str = "", limit: int = -1) -> list[tuple[int, Identity]]:
        matches = [
            (number, identity)
            for number, identity in self._identities("id > 0")
            if containing in identity.name.casefold() and identity.name > after
        ]
        return matches if limit < 0 else matches[:limit]

    def _identities(self, condition: str) -> list[tuple[int, Identity]]:
        fields = ["id", "name", "created", "changed", "metadata"]
        rows = sorted(self._query("identities", condition, fields), key=lambda row: row["name"])
        numbers = [int(row["id"]) for row in rows]
        counts: Counter[int] = Counter()
        for start in range(0, len(numbers), AT_ONCE):
            images = self._query("images", f"identity in {numbers[start : start + AT_ONCE]}", ["identity"])
            counts.update(image["identity"] for image in images)
        identities = []
        for row in rows:
            number, metadata = int(row["id"]), json.loads(row["metadata"])
            identities.append((number, Identity(row["name"], counts[number], row["created"], row["changed"], metadata)))
        return identities

    def metadata(self) -> dict[int, str]:
        return {int(row["id"]): row["metadata"] for row in self._query("identities", "id > 0", ["id", "metadata"])}

    def version(self) -> None:
        return None

    def origins(self, number: int) -> dict[int, str]:
        return {}

    def set_origins(self, origins: Mapping[int, str]) -> None:
        """Do nothing: times tell of changed files here."""

    def names(self, after: int = 0) -> dict[int, str]:
        """Return id -> name of identities with an id above ``after``."""
        return {int(row["id"]): row["name"] for row in self._query("identities", f"id > {after}", ["id", "name"])}

    def images_of(self, number: int) -> list[ImageRecord]:
        return self._images(f"identity == {number}")

    def first_images(self, numbers: Sequence[int]) -> dict[int, int]:
        rows = self._query("images", f"identity in {list(numbers)}", ["id", "identity"])
        ordered = sorted(((int(row["identity"]), int(row["id"])) for row in rows), reverse=True)
        return dict(ordered)

    def image(self, number: int) -> ImageRecord | None:
        images = self._images(f"id == {number}")
        return images[0] if images else None

    def _images(self, condition: str) -> list[ImageRecord]:
        rows = self._query("images", condition, ["id", "identity", "source", "created"])
        images = [ImageRecord(int(row["id"]), int(row["identity"]), row["source"], row["created"]) for row in rows]
        return sorted(images, key=lambda image: image.id)

    def sources(self) -> dict[int, tuple[str, str]]:
        names = self.names()
        rows = self._query("images", "id > 0", ["id", "identity", "source"])
        return {int(row["id"]): (names[row["identity"]], row["source"]) for row in rows if row["identity"] in names}

    def rows(self, after: int = 0) -> Rows:
        names = self.names()
        records = self._query("images", f"id > {after}", ["id", "identity", "vector"])
        rows = sorted((row for row in records if row["identity"] in names), key=lambda row: row["id"])
        vectors = np.array([row["vector"] for row in rows], dtype=np.float32).reshape(-1, self.dimensions)
        numbers = np.array([(row["id"], row["identity"]) for row in rows], dtype=np.int64).reshape(-1, 2)
        return Rows(numbers[:, 0], numbers[:, 1], vectors)

    def remote_search(self, identities: Sequence[int] | None) -> RemoteSearch:
        """Search every image, or those of ``identities``, in Milvus."""
        names: dict[int, str] = {}
        condition = "" if identities is None else f"identity in {sorted(identities)}"

        def search(queries: NDArray[np.float32], k: int) -> list[Nearest]:
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
        return RemoteSearch(count, identity_count, names, search)


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
